"""What deliveries saved for others (`response.save`, `saved`): the bucket SAVED, a key a row of a tenant's route.

Each name remembers which event saved it, so that an older one, which is replayed or was held up, never takes the place
of a newer one's.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from eventbus.buckets import Bucket, RevisionConflict
from eventbus.event import encode_json
from eventbus.tokens import escape

MOST_BYTES = 256 * 2**10


class SavedValue(msgspec.Struct, frozen=True):
    """seq: in EVENTS, of the event whose delivery saved it."""

    seq: int
    value: Any


class SaveRefused(Exception):
    """It cannot be stored as it is."""


_decoder = msgspec.json.Decoder(dict[str, SavedValue], float_hook=Decimal)


class SavedValues:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def read(self, tenant: str, route: str, key: str) -> dict[str, SavedValue]:
        """tenant, route: names; key: as `Mapping.saved_key` writes it."""
        entry = await self._bucket.get(_key(tenant, route, key))
        return {} if entry is None or entry.value is None else _decoder.decode(entry.value)

    async def save(self, tenant: str, route: str, key: str, seq: int, values: Mapping[str, Any]) -> None:
        """Adds the values to what is there. Raises SaveRefused, and what the bucket raises."""
        while True:
            entry = await self._bucket.get(_key(tenant, route, key))
            there = {} if entry is None or entry.value is None else _decoder.decode(entry.value)
            after = newest(there, seq, values)
            if after == there:
                return
            payload = encode_json(after)
            if len(payload) > MOST_BYTES:
                raise SaveRefused(f"what is saved has {len(payload)} bytes, more than {MOST_BYTES}")
            try:
                await self._bucket.update(_key(tenant, route, key), payload, entry.revision if entry else 0)
            except RevisionConflict:
                continue  # a copy of ours whose answer was lost, or a replay beside us
            return


def newest(there: Mapping[str, SavedValue], seq: int, values: Mapping[str, Any]) -> dict[str, SavedValue]:
    """What is there and what comes, of each name what the later event saved."""
    coming = {name: SavedValue(seq, value) for name, value in values.items()}
    late = {name for name, held in there.items() if name in coming and held.seq > seq}
    return {**there, **{name: value for name, value in coming.items() if name not in late}}


def _key(tenant: str, route: str, key: str) -> str:
    return f"{tenant}.{route}.{escape(key)}"
