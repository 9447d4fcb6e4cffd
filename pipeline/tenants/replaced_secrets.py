"""Where a secret goes that a server replaced, such as a refresh token: into the bucket, over the one it replaces.

Compare-and-set: what somebody set meanwhile stays. Whoever follows the bucket opens the tenant's connections anew, except
the one that wrote, which knows its own: it is told by the mark that the record carries.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from connectors.protocol import NotKept
from eventbus.buckets import Entry, RevisionConflict
from eventbus.errors import ConnectionLost, EventBusError, NoAnswer
from eventbus.patience import patiently
from pipeline.secrets import SecretStore
from pipeline.tenants.model import references

_HEADER = "Bridge-Replaced-By"
_FIRST_S, _LONGEST_S = 0.2, 5.0


class ReplacedSecrets:
    """Those of one open connection. mark: unlike that of any other."""

    def __init__(self, store: Callable[[], SecretStore], tenant: str, written: Mapping[str, Any]) -> None:
        """store: the one of the connection to NATS that there is now. written: the connection's `auth`, unresolved."""
        self._store = store
        self._tenant = tenant
        self._names = dict(references(written))
        self.mark = secrets.token_hex(8)

    async def keep(self, member: str, before: str, after: str) -> None:
        """As ConnectionSettings.keep; waits for NATS where it is away."""
        name = self._names[member]
        try:
            await patiently(
                lambda: self._store().replace(self._tenant, name, (before, after), {_HEADER: self.mark}),
                lambda error: isinstance(error, ConnectionLost | NoAnswer),
                first=_FIRST_S,
                longest=_LONGEST_S,
            )
        except RevisionConflict:
            raise NotKept(f"secret {name} of tenant {self._tenant} was set meanwhile") from None
        except EventBusError as error:
            raise NotKept(str(error)) from None


def mark_of(entry: Entry) -> str:
    """Which connection wrote a record of the bucket; "" for a person's."""
    return entry.headers.get(_HEADER, "")
