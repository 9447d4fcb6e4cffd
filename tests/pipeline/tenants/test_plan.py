"""What an apply would do and refuse, and which routing messages belong together: decided without a server."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mapping_text import MappingText
from pipeline.tenants.changed_elsewhere import changed_elsewhere
from pipeline.tenants.key_moves import still_held, together
from pipeline.tenants.model import Connection, Route, RouteSource, Tenant
from pipeline.tenants.plan import InBuckets, plan
from pipeline.tenants.routing import RouteFilter, RouteSpan, TenantRoutes
from pipeline.tenants.version import Version, Written, differences

SOURCE = RouteSource("public.work_orders")
ACME = Tenant(
    "acme",
    "4711",
    connections={"sap": Connection("sap", "rest", "https://sap.example")},
    routes={"orders": Route("orders", SOURCE, "order", "sap")},
    mappings={"order": MappingText("acme/mappings/order.yaml", "…")},
)
MOVED = replace(ACME, connections={"sap": Connection("sap", "rest", "https://other.example")})
SOUTH = replace(ACME, timezone="America/Lima")


def version(
    tenant: Tenant | None, revision: int, written: Written | None = None, name: str = "acme"
) -> Version:
    return Version(name, revision, 0.0, written or Written("bob"), tenant)


def routed(tenant: str, key: str) -> TenantRoutes:
    return TenantRoutes(tenant, 1, (RouteSpan(RouteFilter("orders", key, SOURCE), 1),))


# ── Changed elsewhere ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "wanted", "undone"),
    [
        (ACME, SOUTH, None),
        (MOVED, SOUTH, "connection sap"),
        (MOVED, replace(MOVED, timezone="America/Lima"), None),
        (SOUTH, ACME, "timezone"),
        (SOUTH, MOVED, "timezone"),
        (replace(ACME, routes={}), SOUTH, "route orders"),
        (replace(ACME, routes={}), replace(SOUTH, routes={}), None),
        (replace(ACME, lookups={"units": "a"}), SOUTH, "lookup units"),
        (replace(ACME, mappings={"order": MappingText("", "new")}), SOUTH, "mapping order"),
        (MOVED, None, "connection sap"),
    ],
)
def test_only_what_somebody_else_changed_and_the_folder_lacks_is_undone(
    now: Tenant, wanted: Tenant | None, undone: str | None
) -> None:
    why = changed_elsewhere(version(ACME, 1), version(now, 2), wanted)
    if undone is None:
        assert why is None
    else:
        assert why is not None
        assert "changed by bob at 1970-01-01T00:00:00Z (revision 2) since" in why
        assert f"would undo {undone}:" in why


def test_what_the_folder_was_applied_at_is_its_own() -> None:
    assert changed_elsewhere(version(ACME, 2), version(ACME, 2), SOUTH) is None


def test_where_the_version_seen_is_not_kept_any_more_all_that_is_in_force_counts() -> None:
    why = changed_elsewhere(version(None, 1), version(ACME, 2), SOUTH)
    assert why is not None
    assert "would undo timezone:" in why


def test_a_folder_that_was_never_applied_undoes_no_rollback() -> None:
    assert changed_elsewhere(None, version(ACME, 2), SOUTH) is None
    why = changed_elsewhere(None, version(ACME, 2, Written("bob", how="rollback", of=1)), SOUTH)
    assert why is not None
    assert "rolled back to revision 1 by bob" in why


def test_what_was_removed_elsewhere_comes_back_only_where_nobody_knew_it() -> None:
    removed = version(None, 2, Written("bob", how="remove"))
    why = changed_elsewhere(version(ACME, 1), removed, ACME)
    assert why is not None
    assert "removed by bob" in why
    assert changed_elsewhere(None, removed, ACME) is None


# ── The plan ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_of_keys_is_refused_from_where_it_breaks() -> None:
    b, c = replace(ACME, name="b", key="2"), replace(ACME, name="c", key="3")
    found = InBuckets(
        {
            "acme": Version("acme", 1, 0.0, Written(), None, unreadable="newer"),
            "b": version(b, 2, Written("bob", how="rollback", of=1), "b"),
            "c": version(c, 3, name="c"),
        },
        {},
    )
    wanted = [replace(b, key="9"), replace(c, key="2"), replace(ACME, key="3")]
    steps = {step.name: step for step in plan(wanted, found)}
    assert all(step.refusal for step in steps.values())
    assert [name for name, step in steps.items() if step.refusal and step.refusal.mistake] == ["c"]
    assert steps["c"].refusal is not None
    assert "'2' is the key of tenant 'b', which stays as it is" in steps["c"].refusal.message
    forced = plan(wanted, found, force=True)
    assert all(step.refusal is None and step.writes for step in forced)


def test_who_is_pruned_gives_its_key_away() -> None:
    found = InBuckets({"acme": version(ACME, 1)}, {"acme": routed("acme", "4711")})
    renamed = replace(ACME, name="renamed")
    (step,) = plan([renamed], found)
    assert step.refusal is not None
    assert "or let --prune remove that tenant" in step.refusal.message
    new, gone = plan([renamed], found, removed=["acme"])
    assert (new.refusal, gone.refusal, gone.after, gone.writes) == (None, None, None, True)


def test_what_a_removal_left_is_finished_whatever_is_applied() -> None:
    found = InBuckets({"acme": version(None, 2)}, {"acme": routed("acme", "4711")})
    (step,) = plan([], found)
    assert (step.after, step.writes, step.lines) == (
        None,
        False,
        ("its routes end, which an interrupted command had left",),
    )
    (step,) = plan([ACME], found)
    assert (step.after, step.writes) == (ACME, True)


def test_a_remark_in_tenant_yaml_and_where_a_mapping_stands_change_nothing() -> None:
    shipped = replace(ACME, mappings={"order": MappingText("templates/order.yaml", "…")}, written="# remark")
    found = InBuckets({"acme": version(ACME, 1)}, {"acme": routed("acme", "4711")})
    (step,) = plan([shipped], found)
    assert (step.lines, step.writes) == ((), False)


# ── Versions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_version_is_compared_with_the_one_before() -> None:
    history = [version(ACME, 1), version(SOUTH, 2), version(None, 3), version(ACME, 4)]
    lines = [found for _, found in differences(history, first_kept=True)]
    new = ("new, with key '4711': 1 connection, 1 route",)
    assert lines == [new, ("timezone: 'UTC' → 'America/Lima'",), ("removed",), new]
    (_, first), *_ = differences(history[1:], first_kept=False)
    assert first == ()


# ── Keys that move ───────────────────────────────────────────────────────────────────────────────────────────────

NAMES = "abcdef"
KEYS = st.sampled_from("123456789")


@given(
    held=st.dictionaries(st.sampled_from(NAMES), KEYS, max_size=6),
    keys=st.dictionaries(st.sampled_from(NAMES), KEYS, max_size=6),
    more=st.sets(st.sampled_from(NAMES)),
)
def test_who_gives_a_key_and_who_gets_it_are_together(
    held: dict[str, str], keys: dict[str, str], more: set[str]
) -> None:
    routes = {name: routed(name, key) for name, key in held.items()}
    names = sorted(keys.keys() | (more & held.keys()))
    waiting = still_held(names, keys, routes)
    going = [name for name in names if name not in waiting]
    groups = together(going, keys, routes)
    assert sorted(name for group in groups for name in group) == going
    place = {name: number for number, group in enumerate(groups) for name in group}
    for getter in going:
        for holder, key in held.items():
            if holder != getter and keys.get(getter) == key:
                assert place.get(holder) == place[getter]  # never with a holder that keeps it


def test_tenants_that_share_nothing_go_alone() -> None:
    routes = {name: routed(name, name) for name in NAMES}
    assert together(NAMES, {name: name for name in NAMES}, routes) == [[name] for name in NAMES]
    assert still_held(NAMES, {name: name for name in NAMES}, routes) == {}


def test_a_key_that_moves_round_keeps_them_all_together() -> None:
    routes = {name: routed(name, name) for name in "abc"}
    assert sorted(together("abc", {"a": "b", "b": "c", "c": "a"}, routes)[0]) == ["a", "b", "c"]
    assert still_held("ab", {"a": "b", "b": "c"}, routes) == {"b": "c", "a": "b"}
