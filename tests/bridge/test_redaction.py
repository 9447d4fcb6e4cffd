"""No password reaches a message or a log line."""

import io

import pytest
import structlog

from bridge.logging_setup import hide_secrets, processors
from bridge.redaction import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:geheim@h:5432/db?x=1", "postgresql://u:…@h:5432/db?x=1"),
        ("nats://u:geheim@a, nats://v:geheim@b", "nats://u:…@a, nats://v:…@b"),
        ("postgresql://u:ge@he:im@h/db", "postgresql://u:…@h/db"),
        ("nats://u:geheim@a:1,nats://v:geheim@b:2", "nats://u:…@a:1,nats://v:…@b:2"),
        ("nats://geheim@h:4222", "nats://…@h:4222"),
        ("host=h password=geheim user=u", "host=h password=… user=u"),
        ("host=h password = 'ge h\\'eim' user=u", "host=h password = … user=u"),
        ("postgresql://h/db?user=u&password=geheim&x=1", "postgresql://h/db?user=u&password=…&x=1"),
        ("sslpassword=geheim", "sslpassword=…"),
        ("https://sap.example/a:b@c", "https://sap.example/a:b@c"),
        ("mail to a@b.example at 12:30", "mail to a@b.example at 12:30"),
    ],
)
def test_passwords_are_taken_out_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_what_is_named_like_a_secret_is_not_logged() -> None:
    logged = hide_secrets(
        None, "info", {"event": "x", "dsn": "host=h", "api_token": 1, "url": "nats://u:p@h", "n": 3}
    )
    assert logged == {"event": "x", "dsn": "…", "api_token": "…", "url": "nats://u:…@h", "n": 3}


@pytest.mark.parametrize("on_terminal", [True, False])
def test_no_traceback_tells_a_password(on_terminal: bool) -> None:  # noqa: FBT001 - pytest's way
    lines = io.StringIO()
    log = structlog.wrap_logger(structlog.PrintLogger(lines), processors=processors(on_terminal=on_terminal))
    try:
        raise ValueError("host=h password=geheim")
    except ValueError:
        log.exception("failed")
    assert "ValueError: host=h password=…" in lines.getvalue()
    assert "geheim" not in lines.getvalue()
