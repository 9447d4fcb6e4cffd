"""When a delivery is tried again. Pure: the jitter is passed in."""

from pipeline.tenants.model import RetryPolicy


def retry_delay(policy: RetryPolicy, attempt: int, jitter: float, asked: float | None) -> float:
    """Seconds from attempt number `attempt` (from 1 on) to the next one.

    jitter: chance, from -1 to 1. asked: what the ERP's Retry-After says; it is honoured between the policy's
    `initial_s` and `max_s`, so that neither a zero nor a year can do harm.
    """
    if asked is not None:
        return min(max(asked, policy.initial_s), policy.max_s)
    # a factor to the thousandth would overflow long after `max_s` is reached
    doublings = min(attempt - 1, 64)
    wait = min(policy.initial_s * policy.factor**doublings, policy.max_s)
    return max(0.0, wait * (1 + policy.jitter * jitter))
