"""What can go wrong between us and NATS. Messages name the server, stream or subject, never a password."""


class EventBusError(Exception):
    """The base of every error this room raises for what a server did or did not do."""


class NatsUnreachable(EventBusError):
    """No server answered where it should be."""


class NatsRefused(EventBusError):
    """A server answered and would not have us: login, TLS, no JetStream."""


class ConnectionLost(EventBusError):
    """The connection ended, or was ended. What was sent and not answered may have happened or not."""


class NoAnswer(EventBusError):
    """The server did not answer in time. What was asked may have happened or not."""


class JetStreamError(EventBusError):
    """JetStream said no.

    code: like HTTP's; err_code: JetStream's own (server/errors.json); for `503 no responders` both are 503.
    """

    def __init__(self, what: str, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{what}: {description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description
