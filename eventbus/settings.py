"""How the NATS servers are reached and what the streams hold: bridge.yaml's `nats` and `streams`, read."""

from dataclasses import dataclass, field

GIB = 2**30
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """Durations in seconds; `sync_interval` 0.0 means `always`."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    namespace: str = ""
    replicas: int = 1
    sync_interval: float = 120.0
    lanes: int = 16
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    credentials_file: str | None = None
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None

    @property
    def hold_back(self) -> float:
        """Seconds that a position must have before PostgreSQL may let its WAL go (rule C8).

        A PubAck of one replica is no fsync unless it syncs always.
        """
        return 0.0 if self.replicas > 1 or self.sync_interval == 0 else self.sync_interval + 30


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Sizes in bytes, durations in seconds; the server reserves the sizes when a stream is made."""

    events_max_bytes: int = 4 * GIB
    events_keep: float = 7 * DAY
    deliveries_max_bytes: int = 4 * GIB
    deliveries_keep: float = DAY
    deliveries_deadline: float = 7 * DAY
    attempts_max_bytes: int = GIB
    attempts_keep: float = 30 * DAY
    dlq_max_bytes: int = GIB

    @classmethod
    def embedded(cls) -> "StreamSettings":
        """A sixteenth of the sizes: what a laptop can reserve."""
        return cls(
            events_max_bytes=GIB // 4,
            deliveries_max_bytes=GIB // 4,
            attempts_max_bytes=GIB // 16,
            dlq_max_bytes=GIB // 16,
        )
