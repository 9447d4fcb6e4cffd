"""What every connector kind is to the rest of the house: a request goes in, one of five outcomes comes out.

A kind is one module, found by its name in `connectors.registry`, ours or a plug-in's. It prepares (pure, so that a preview shows exactly
what would be sent) and sends (the only part that touches the network, and never raises for the network's trouble).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol

from connectors.egress import EgressPolicy


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ERP said. headers: names in lower case. body: the JSON value (numbers int or Decimal), text, or None.

    truncated: it was larger than the connector reads, so the body is the text of its beginning.
    """

    status: int
    headers: Mapping[str, str]
    body: Any
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """The ERP has it."""

    answer: Answer | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The ERP means no: repeating it cannot help. code: the ERP's own error code, "" where it gave none."""

    message: str
    answer: Answer | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Not now, but it may pass later. after: seconds the server asked for; None where it did not say."""

    message: str
    answer: Answer | None = None
    after: float | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The endpoint, not the event, is in trouble, and nothing was processed: hold the route, count no attempt.

    code: egress, dns, refused, tls, timeout, authentication, csrf, wsdl or unavailable. after: as in RetryLater.
    """

    message: str
    answer: Answer | None = None
    after: float | None = None
    code: str = "unavailable"


@dataclass(frozen=True, slots=True)
class Throttled:
    """The endpoint lives and takes no more of this connection's requests for now. Nothing was processed.

    after: as in RetryLater.
    """

    message: str
    answer: Answer | None = None
    after: float | None = None
    code: str = "throttled"


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It may have been sent, and no (whole) answer was read: only the mapping knows whether to repeat it.

    answer: what a gateway said in the ERP's place, or the bare status of an answer whose body never came whole.
    """

    message: str
    answer: Answer | None = None
    code: str = "uncertain"


Outcome = Delivered | Rejected | RetryLater | Throttled | Unavailable | Uncertain


class RequestInvalid(ValueError):
    """The rendered request cannot be sent as it is: says which key, and why. No network was touched."""


class SettingsInvalid(ValueError):
    """A connection cannot be opened as it is written. key: where in the connection, such as `auth.type`."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


class OptionUnknown(SettingsInvalid):
    """options: those that the kind has."""

    def __init__(self, key: str, options: Collection[str]) -> None:
        known = f"the options {', '.join(sorted(options))} alone" if options else "no options"
        super().__init__(key, f"this connector has {known}")
        self.options = tuple(options)


class KindUnusable(LookupError):
    """No connector of this name can be used: there is none, or its package is broken."""


class KindBroken(KindUnusable):
    """A plug-in's package does not offer what it says: names the package, and what is wrong with it."""


class NotKept(Exception):
    """What a server replaced a secret by could not be stored: says why, and never the value."""


class Leaf(Enum):
    """How the values below a key of the request end up, and so how a mapping escapes them and reads null."""

    TEXT = "text"  # one text; null is an error
    PATH = "path"  # one text; each value in it percent-encoded, `/` included; null is an error
    QUERY = "query"  # names to a value or a list of values; the connector encodes; null leaves the name out
    HEADER = "header"  # names to a value; null leaves the name out
    TREE = "tree"  # any JSON value; null is JSON null
    REQUESTS = "requests"  # a list of requests, each with the keys that `inside` tells
    XML = "xml"  # an element's tree (connectors.xml_payload); null leaves the element out, `nil` is xsi:nil


@dataclass(frozen=True, slots=True)
class RequestKey:
    """check: raises RequestInvalid for a value that cannot be sent, so that a mapping need not wait for an event.

    literal: the text stands as it is written, and no template in it; here is what to write instead. inside: of
    Leaf.REQUESTS.
    """

    leaf: Leaf
    required: bool = False
    check: Callable[[Any], object] | None = None
    literal: str = ""
    inside: "RequestShape | None" = None


@dataclass(frozen=True, slots=True)
class RequestShape:
    """The keys that a kind's `request:` may have. Any other key is a mistake of the mapping.

    payload: those that hold what is sent, of which one at most stands in a request. one_of: one at least has to.
    """

    keys: Mapping[str, RequestKey]
    payload: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()

    def check_keys(self, kind: str, request: Mapping[str, Any]) -> None:
        """That there are no others. Raises RequestInvalid."""
        for name in sorted(set(request) - set(self.keys)):
            raise RequestInvalid(f"request.{name}: {kind} knows only {', '.join(self.keys)}")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The exact request, as far as it may be shown: no secret, no authorization header.

    parts: the kind's own shape, JSON values only. content: the payload's bytes as they go out.
    """

    connector: str
    parts: Mapping[str, Any]
    content: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        """As `mapping preview --json` prints it."""
        return {"connector": self.connector, **self.parts}


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """One connection of a tenant. auth, tls: secrets resolved, so never shown; hidden: the dotted paths in auth that came
    from there. options: what only its kind knows. files: the tenant's files that those name, as texts by their paths in
    its folder.

    timeout_s: from asking for a connection to the answer's last byte. concurrency: connections at once. keep: takes a
    member of auth, the secret it was, and what its server replaced it by, to be there after a restart; raises NotKept.
    """

    base_url: str
    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)
    timeout_s: float = 30.0
    concurrency: int = 4
    options: Mapping[str, Any] = field(default_factory=dict)
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    hidden: frozenset[str] = frozenset()
    tls: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keep: Callable[[str, str, str], Awaitable[None]] | None = field(default=None, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)


class Connector(Protocol):
    """One open connection to one ERP. Not shared between event loops."""

    kind: ClassVar[str]

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """Pure. request: as the mapping rendered it. Raises RequestInvalid."""
        ...

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        """Never raises for what the network or the ERP does; cancellation passes through.

        permit: called when a connection is there, just before the event itself goes out; what it raises goes through,
        and then nothing was sent.
        """
        ...

    async def aclose(self) -> None: ...


class ConnectorKind(Protocol):
    """What a kind's module offers: its request shape, the pure half, and the way to open a connection. `self` is the module."""

    SHAPE: RequestShape

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """As Connector.prepare, with no connection: for previews."""
        ...

    def check_settings(self, settings: ConnectionSettings) -> None:
        """Pure; secrets may still be unresolved. Raises SettingsInvalid."""
        ...

    def open_connector(self, settings: ConnectionSettings) -> Connector:
        """Connects to nothing yet. Raises SettingsInvalid."""
        ...
