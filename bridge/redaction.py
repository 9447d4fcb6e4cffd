"""Texts for people and logs, without the passwords in them."""

import re

_URL_PASSWORD = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s:@/]*):[^\s/]+@", re.IGNORECASE)
_URL_TOKEN = re.compile(r"(?P<head>\b(?:nats|tls|wss?)://)[^\s:/]+@", re.IGNORECASE)
_DSN_PASSWORD = re.compile(r"\b(?P<head>(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without the passwords and tokens of the DSNs and URLs in it."""
    # every text of every log line comes this way: what has none of the marks costs no regular expression
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(r"\g<head>:…@", text)
        text = _URL_TOKEN.sub(r"\g<head>…@", text)
    return _DSN_PASSWORD.sub(r"\g<head>…", text) if "=" in text else text
