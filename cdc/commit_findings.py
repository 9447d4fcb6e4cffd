"""Findings about the application's commits: how late they reach capture, and whether they would wait for it. Pure."""

import re
from collections.abc import Iterator

from cdc.finding import Finding, Level
from cdc.providers import setting
from cdc.server_facts import ServerFacts

_TOKEN = re.compile(r'"(?:[^"]|"")*"|[^\s,()]+|[(),]')


def check_commits(server: ServerFacts) -> Iterator[Finding]:
    matching = matching_standby(server.synchronous_standby_names, server.application_name)
    if matching is not None:
        remedy = (
            "name your standbys there instead of *"
            if matching == "*"
            else "take it out there, or give our dsn another application_name"
        )
        yield Finding(
            Level.ERROR,
            "synchronous_standby",
            "synchronous_standby_names",
            f"synchronous_standby_names is {server.synchronous_standby_names!r}: {matching} means our connection "
            f"({server.application_name}) too, and the application's commits could wait for us; {remedy}",
            setting(
                server.provider,
                "synchronous_standby_names",
                "FIRST 1 (your_standby)",
                "no lock, no WAL; with your standbys' names, or empty where there are none",
            ),
        )
    if server.synchronous_commit == "off":
        yield Finding(
            Level.WARNING,
            "synchronous_commit",
            "synchronous_commit",
            "synchronous_commit is off: WAL is flushed, and so captured, up to three times wal_writer_delay after the commit",
            setting(
                server.provider, "synchronous_commit", "on", "no lock; each commit then waits for its flush"
            ),
        )


def matching_standby(names: str, application_name: str) -> str | None:
    """What in synchronous_standby_names a session of that name matches, as it stands there.

    A list, `n (list)`, `FIRST n (list)` or `ANY n (list)`; names are compared whatever their case (PostgreSQL, 19.6.2).
    """
    tokens = _TOKEN.findall(names)
    if "(" in tokens:
        tokens = tokens[tokens.index("(") + 1 :]
    for word in tokens:
        name = word[1:-1].replace('""', '"') if word.startswith('"') else word
        if name == "*" or (word not in "(),*" and name.lower() == application_name.lower()):
            return str(word)
    return None
