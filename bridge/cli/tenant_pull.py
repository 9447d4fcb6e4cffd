"""`bridge tenant pull`: the tenants in force, as a folder."""

import json
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.errors import CommandError, Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from eventbus.subjects import Subjects
from pipeline.jail.renderer import Renderer
from pipeline.quantities import NAME
from pipeline.tenants.folder_memory import FolderMemory
from pipeline.tenants.model import Tenant
from pipeline.tenants.pull import Pulled, cannot_be_pulled, pull
from pipeline.tenants.store import TenantStore
from pipeline.yaml_nodes import nearest


@click.command("pull")
@click.argument("words", metavar="[TENANT…] [DIR]", nargs=-1)
@config_option
@json_option
def pull_tenants(words: tuple[str, ...], config: Path, *, as_json: bool) -> None:
    """Write tenants as they are in force (default: all) into a tenants folder (default: bridge.yaml's `tenants`).

    What the folder has otherwise is overwritten, and mappings and lookups that are not in force are removed; cases stay.
    A shipped mapping is written only where this bridge ships another text. A folder is written with a / or . in it where
    a tenant might be meant: ./acme.
    """
    settings = load_settings(config, with_sources=False, with_secrets=False)
    bucket, in_force = run(_in_force(settings))
    names, folder = _meant(words, in_force, settings.tenants)
    chosen = {name: in_force[name] for name in names or sorted(in_force)}
    if without := cannot_be_pulled(chosen):
        raise Usage(f"not applied from a folder, so there is nothing to pull: {', '.join(without)}")
    for pulled in _write(bucket, chosen, folder):
        click.echo(_json(pulled) if as_json else _text(pulled))


async def _in_force(settings: Settings) -> tuple[str, dict[str, Tenant]]:
    """When the bucket was made, and what it says."""
    async with event_bus(settings, "bridge tenant pull") as jetstream:
        store = TenantStore(jetstream, Subjects(settings.nats.namespace))
        return await store.made(), await store.all()


def _write(bucket: str, chosen: dict[str, Tenant], folder: Path) -> list[Pulled]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = run(_pulled(chosen.values(), folder))
    except OSError as error:
        raise CommandError(f"cannot write {error.filename}: {error.strerror}") from None
    memory = FolderMemory(folder)
    memory.remember(bucket, (memory.seen(bucket) or {}) | {one.tenant: one.revision for one in done})
    return done


async def _pulled(tenants: Iterable[Tenant], folder: Path) -> list[Pulled]:
    async with aclosing(Renderer()) as renderer:
        return [await pull(tenant, folder, shipped("templates"), renderer) for tenant in tenants]


def _meant(words: Sequence[str], in_force: dict[str, Tenant], default: Path) -> tuple[list[str], Path]:
    """Tenants' names and the folder. The last word is a folder where it is no tenant in force. Raises Usage."""
    keys = {f"key:{tenant.key}": name for name, tenant in in_force.items()}
    names = [keys.get(word, word) for word in words]
    folder = default
    if names and names[-1] not in in_force:
        last = names.pop()
        if not names and _may_be_a_slip(last, in_force):
            raise Usage(
                f"no tenant {last!r} is in force{nearest(last, in_force)}; where a folder is meant, write ./{last}"
            )
        folder = Path(last)
    for name in names:
        if name not in in_force:
            raise Usage(
                f"no tenant {name!r} is in force{nearest(name, in_force)}; `bridge tenant list` shows them"
            )
    return names, folder


def _may_be_a_slip(word: str, in_force: dict[str, Tenant]) -> bool:
    if word.startswith("key:"):
        return True
    return bool(
        NAME.fullmatch(word) and not Path(word).is_dir() and "did you mean" in nearest(word, in_force)
    )


def _text(pulled: Pulled) -> str:
    lines = [f"{pulled.tenant}: revision {pulled.revision}"]
    if not pulled.written and not pulled.removed:
        lines[0] += ", as the folder has it"
    lines += [f"{name} written" for name in pulled.written] + [f"{name} removed" for name in pulled.removed]
    return "\n    ".join(lines)


def _json(pulled: Pulled) -> str:
    members = {
        "tenant": pulled.tenant,
        "revision": pulled.revision,
        "written": pulled.written,
        "removed": pulled.removed,
    }
    return json.dumps(members, ensure_ascii=False)
