"""Applies what was read from a folder, and remembers in it at which revisions that was."""

from dataclasses import replace
from pathlib import Path

from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.tenants.apply import Application, Change, Manner
from pipeline.tenants.folder import FolderRead
from pipeline.tenants.folder_memory import FolderMemory
from pipeline.tenants.store import TenantStore


class FolderUnknown(Exception):
    """A folder without tenants, that was never applied here, would remove every tenant in force."""


async def apply_folder(
    jetstream: JetStream, subjects: Subjects, folder: Path, read: FolderRead, manner: Manner, *, certain: bool
) -> list[Change]:
    """As `Application.apply`, whose `manner` gets what the folder knows. Raises FolderUnknown unless `certain`."""
    bucket, memory = await TenantStore(jetstream, subjects).made(), FolderMemory(folder)
    seen = memory.seen(bucket)
    names = [tenant.name for tenant in read.tenants]
    if manner.prune and seen is None and not names and not read.invalid and not certain:
        raise FolderUnknown(
            f"{folder} has no tenant in it and was never applied here: --prune would remove every tenant in force"
        )
    manner = replace(manner, seen=seen or {}, folders={*names, *read.invalid})
    changes = await Application(jetstream, subjects).apply(read.tenants, manner)
    if not manner.dry_run:
        now = {change.tenant: change.revision for change in changes if change.refusal is None}
        gone = {change.tenant for change in changes if change.removed and change.refusal is None}
        memory.remember(bucket, {name: at for name, at in ((seen or {}) | now).items() if name not in gone})
    return changes
