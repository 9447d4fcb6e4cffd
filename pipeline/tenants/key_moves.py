"""Keys that go from one tenant to another: which routing messages must be stored with nothing between them. Pure.

Such a key ends in one message and begins in the other. An event between the two would go to both ERPs, or to none.
"""

from collections.abc import Iterable, Mapping

from pipeline.tenants.routing import TenantRoutes


def together(
    names: Iterable[str], keys: Mapping[str, str], held: Mapping[str, TenantRoutes]
) -> list[list[str]]:
    """The names in groups: who gives a key is in one group with who gets it.

    keys: what each tenant asks for from now on, where it asks for anything; held: the routes as they are.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        mine = [name]
        touched = _keys(held.get(name)) | ({keys[name]} if name in keys else set())
        for group in {id(groups[key]): groups[key] for key in touched if key in groups}.values():
            mine += group
            touched |= {key for key, there in groups.items() if there is group}
        groups |= dict.fromkeys(touched, mine)
    return list({id(group): group for group in groups.values()}.values())


def still_held(
    names: Iterable[str], keys: Mapping[str, str], held: Mapping[str, TenantRoutes]
) -> dict[str, str]:
    """Whose routes have to wait, and for which tenant: it has the key still, and is not among the names."""
    going, waiting = set(names), dict[str, str]()
    holders = {key: name for name, routes in held.items() if name not in going for key in _keys(routes)}
    while blocked := {name: holders[keys[name]] for name in going if keys.get(name) in holders}:
        waiting |= blocked
        going -= blocked.keys()
        holders |= {key: name for name in blocked for key in _keys(held.get(name))}
    return waiting


def _keys(routes: TenantRoutes | None) -> set[str]:
    return set() if routes is None else {one.key for one in routes.in_force}
