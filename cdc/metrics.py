"""Capture's metrics in the default registry of prometheus_client, each with label `source`. docs/operator.md lists them.

Created here, set by modules that act.
"""

from prometheus_client import Counter, Gauge, Histogram

from eventbus.condition import Role

_LABEL = ("source",)
_EVENTS = Counter("bridge_capture_events", "Events stored in EVENTS", _LABEL)
_BYTES = Counter("bridge_capture_bytes", "Bytes of these events, subjects and headers included", _LABEL)
_BATCHES = Counter(
    "bridge_capture_batches", "Atomic batches stored, those that only move the position included", _LABEL
)
_COMMIT = Histogram(
    "bridge_capture_commit_seconds",
    "From sending a batch's end until it is known to be stored",
    _LABEL,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
_LAST_EVENT = Gauge(
    "bridge_capture_last_event_timestamp_seconds", "When the last event was stored; 0: none yet", _LABEL
)
_LAG_BYTES = Gauge("bridge_capture_lag_bytes", "WAL that is written and not published", _LABEL)
_LAG_SECONDS = Gauge(
    "bridge_capture_lag_seconds",
    "How long the last heartbeat took, or takes, or JetStream takes nothing; NaN: there is none",
    _LABEL,
)
_HEARTBEAT = Gauge("bridge_capture_heartbeat_seconds", "How long the last heartbeat took to come", _LABEL)
_HELD = Gauge("bridge_capture_slot_held_bytes", "WAL that PostgreSQL keeps for the slot", _LABEL)
_UNCONFIRMED = Gauge("bridge_capture_slot_unconfirmed_bytes", "WAL that is not confirmed", _LABEL)
_LIMIT = Gauge("bridge_capture_wal_limit_bytes", "wal_limit of bridge.yaml; 0: none", _LABEL)
_LIMIT_PASSED = Gauge("bridge_capture_wal_limit_passed", "1: the slot holds more than wal_limit", _LABEL)
_OWNER = Gauge("bridge_capture_owner", "1: it owns the slot", _LABEL)
_STANDBY = Gauge("bridge_capture_standby", "1: it stands by", _LABEL)
_STALLED = Gauge("bridge_capture_stalled", "1: connected, and nothing comes", _LABEL)
_BLOCKED = Gauge(
    "bridge_capture_blocked_code", "JetStream's error while it takes nothing; 0: it does", _LABEL
)
_TENURES = Counter("bridge_capture_tenures", "How often it took the slot", _LABEL)
_ERRORS = Counter("bridge_capture_errors", "What ended a tenure, by kind", ("source", "kind"))
SCHEMA_CHANGES = Counter(
    "bridge_schema_changes", "Relations whose events changed their shape", ("source", "table")
)
UNKNOWN_TENANTS = Counter(
    "bridge_capture_unknown_tenant_events",
    "Events whose tenant is NULL or cannot be told",
    ("source", "table"),
)
OUTBOX_INVALID = Counter("bridge_outbox_invalid", "Outbox messages that could not be understood", _LABEL)


class CaptureMetrics:
    """Those of one source."""

    def __init__(self, source: str, wal_limit: int | None = None) -> None:
        self._source = source
        self._events = _EVENTS.labels(source)
        self._bytes = _BYTES.labels(source)
        self._batches = _BATCHES.labels(source)
        self._commit = _COMMIT.labels(source)
        self._owner, self._standby = _OWNER.labels(source), _STANDBY.labels(source)
        self._tenures = _TENURES.labels(source)
        self.last_event = _LAST_EVENT.labels(source)
        self.lag_bytes = _LAG_BYTES.labels(source)
        self.lag_seconds = _LAG_SECONDS.labels(source)
        self.heartbeat = _HEARTBEAT.labels(source)
        self.held = _HELD.labels(source)
        self.unconfirmed = _UNCONFIRMED.labels(source)
        self.limit_passed = _LIMIT_PASSED.labels(source)
        self.stalled = _STALLED.labels(source)
        self.blocked = _BLOCKED.labels(source)
        _LIMIT.labels(source).set(wal_limit or 0)

    def committed(self, events: int, size: int, took: float) -> None:
        self._batches.inc()
        self._commit.observe(took)
        self._events.inc(events)
        self._bytes.inc(size)

    def role(self, role: Role) -> None:
        self._owner.set(role is Role.OWNER)
        self._standby.set(role is Role.STANDBY)
        if role is Role.OWNER:
            self._tenures.inc()
        else:
            # what only an owner knows
            for gauge in (self.lag_bytes, self.lag_seconds, self.stalled, self.blocked, self.limit_passed):
                gauge.set(0)

    def error(self, error: Exception) -> None:
        _ERRORS.labels(self._source, type(error).__name__).inc()
