"""Objects too big for a message, by name (the format of ADR-20 in nats-architecture-and-design).

An object is written before the message that refers to it, and may be written again after a crash: its chunks are
found by its name, so that no attempt leaves any behind.
"""

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eventbus.errors import EventBusError
from eventbus.jetstream import JetStream
from eventbus.ordered_reader import OrderedReader, Reading

CHUNK = 128 * 2**10
AT_ONCE = 16
READ_TIMEOUT_S = 10.0


class ObjectMissing(EventBusError):
    """There is no object of that name."""


class ObjectDamaged(EventBusError):
    """The object's parts are not what its description says."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What an object is listed by. seq: of its description in the bucket's stream; at: when that was stored, seconds since the epoch."""

    name: str
    seq: int
    at: float


@dataclass(frozen=True, slots=True)
class _Meta:
    chunks_subject: str
    chunks: int
    size: int
    digest: str


class ObjectStore:
    """One object bucket; it is made by `topology.ensure_topology`. Methods raise as JetStream's do."""

    def __init__(self, jetstream: JetStream, name: str) -> None:
        self._jetstream = jetstream
        self._name = name
        self._stream = f"OBJ_{name}"

    async def put(self, name: str, data: bytes) -> None:
        """Stores `data` under `name`; nothing to do where it is stored already."""
        digest = _digest(data)
        found = await self._meta(name)
        if found is not None and (found.digest, found.size) == (digest, len(data)):
            return
        nuid = _nuid(name)
        subject = f"$O.{self._name}.C.{nuid}"
        await self._jetstream.purge_stream(self._stream, subject=subject)
        chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
        for start in range(0, len(chunks), AT_ONCE):
            some = chunks[start : start + AT_ONCE]
            await asyncio.gather(*(self._jetstream.publish(subject, chunk) for chunk in some))
        meta = {
            "name": name,
            "bucket": self._name,
            "nuid": nuid,
            "size": len(data),
            "chunks": len(chunks),
            "digest": digest,
            "mtime": datetime.now(UTC).isoformat(),
            "options": {"max_chunk_size": CHUNK},
        }
        await self._jetstream.publish(
            self._meta_subject(name), json.dumps(meta).encode(), b"Nats-Rollup: sub\r\n"
        )

    async def get(self, name: str) -> bytes:
        """Raises ObjectMissing, ObjectDamaged."""
        meta = await self._meta(name)
        if meta is None:
            raise ObjectMissing(f"object {name} is not in object store {self._name}")
        data = await self._chunks(meta) if meta.chunks else b""
        if len(data) != meta.size or _digest(data) != meta.digest:
            raise ObjectDamaged(f"object {name} in object store {self._name} does not match its digest")
        return data

    async def delete(self, name: str) -> None:
        """Leaves nothing behind; nothing to delete is no error."""
        meta = await self._meta(name)
        if meta is not None:
            await self._jetstream.purge_stream(self._stream, subject=meta.chunks_subject)
            await self._jetstream.purge_stream(self._stream, subject=self._meta_subject(name))

    async def listing(self) -> list[StoredObject]:
        """Every object."""
        found: list[StoredObject] = []
        reading = Reading(self._stream, [f"$O.{self._name}.M.*"], None)
        async with OrderedReader(self._jetstream, reading) as reader:
            # one may be deleted before it is read
            async for message in reader.what_is_there():
                meta: dict[str, Any] = json.loads(message.payload)
                if not meta.get("deleted"):
                    found.append(StoredObject(meta["name"], message.seq, message.time))
        return found

    async def delete_as_listed(self, found: StoredObject) -> None:
        """Deletes what was listed; one that was stored under its name since stays whole."""
        nuid = _nuid(found.name)
        subject = self._meta_subject(found.name)
        await self._jetstream.purge_stream(self._stream, subject=subject, below=found.seq + 1)
        # an object's parts are stored before its description
        await self._jetstream.purge_stream(self._stream, subject=f"$O.{self._name}.C.{nuid}", below=found.seq)

    async def _meta(self, name: str) -> _Meta | None:
        found = await self._jetstream.last_message(self._stream, self._meta_subject(name))
        if found is None:
            return None
        meta: dict[str, Any] = json.loads(found.payload)
        if meta.get("deleted"):
            return None
        return _Meta(f"$O.{self._name}.C.{meta['nuid']}", meta["chunks"], meta["size"], meta["digest"])

    async def _chunks(self, meta: _Meta) -> bytes:
        parts: list[bytes] = []
        reading = Reading(self._stream, [meta.chunks_subject])
        async with OrderedReader(self._jetstream, reading) as reader:
            if reader.waiting < meta.chunks:
                return b""
            try:
                while len(parts) < meta.chunks:
                    async with asyncio.timeout(READ_TIMEOUT_S):
                        parts += [message.payload for message in await reader.next()]
            except TimeoutError:
                pass  # somebody deletes it: the digest will not match
        return b"".join(parts)

    def _meta_subject(self, name: str) -> str:
        return f"$O.{self._name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _nuid(name: str) -> str:
    """What an object's parts are found by."""
    return hashlib.sha256(name.encode()).hexdigest()[:22]


def _digest(data: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
