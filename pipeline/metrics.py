"""Metrics of router and worker, in the default registry of prometheus_client. docs/operator.md lists them.

Created here, set by modules that act.
"""

from prometheus_client import Counter, Gauge

ROUTED = Counter("bridge_router_events", "Events read from EVENTS, wanted or not")
BACKLOG = Gauge(
    "bridge_router_backlog_events", "Events behind the last one that was read, as the server told with it"
)
ROUTER_BLOCKED = Gauge(
    "bridge_router_blocked_code", "JetStream's error while DELIVERIES takes nothing; 0: it does"
)
LANES = Gauge("bridge_worker_lanes", "Lanes that it owns")
WORKERS = Gauge("bridge_worker_members", "Workers that may own lanes, as it sees them, itself included")
TAKEOVERS = Counter(
    "bridge_worker_takeovers",
    "Lanes taken over: handed over by their last owner (release), left behind by it (crash), or neither (start)",
    ("after",),
)
APART = Gauge(
    "bridge_worker_routes_apart", "Routes in trouble that have left their lane, by why they did", ("why",)
)
APART_BACKLOG = Gauge(
    "bridge_worker_apart_backlog_deliveries",
    "Deliveries behind routes that have left their lane, as far as is known",
)
ATTEMPTS = Counter("bridge_worker_attempts", "Attempts at deliveries, by what followed", ("then",))
DEAD_LETTERS = Gauge(
    "bridge_dead_letters",
    "Open dead letters, counted within the last minutes; every worker tells all of them",
    ("tenant", "route", "reason"),
)
RENDERERS = Counter(
    "bridge_worker_renderers_ended",
    "Rendering processes that ended by themselves, by whose fault",
    ("fault",),
)
KEEPERS = Gauge("bridge_keeper_acting", "1: this one keeps house")
PURGED = Counter("bridge_keeper_purged", "Messages and objects that the keeper has deleted", ("stream",))
STREAM_FULL = Gauge("bridge_stream_full_ratio", "How full a stream is, as the keeper sees it", ("stream",))
