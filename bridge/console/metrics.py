"""What the console counts, in prometheus_client's default registry."""

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "bridge_intake_requests",
    "Requests to the webhook intake, by what became of them; source is empty where there is no such source.",
    ("source", "outcome"),
)
SECONDS = Histogram(
    "bridge_intake_request_seconds",
    "Time from a webhook's headers to its answer.",
    ("source",),
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
