"""The open dead letters, counted every minute for whoever watches a worker's metrics."""

import asyncio
import time
from collections import Counter

import structlog

from eventbus.errors import JetStreamError, NoAnswer
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.dlq.letters import Letters
from pipeline.metrics import DEAD_LETTERS

EVERY_S = 60.0
SHARE = 20
"""Counting many letters takes its time: at most one part in so many of ours."""

log = structlog.get_logger()


class LetterUpkeep:
    """Any number may run: each tells of all."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._stream = subjects.stream("DLQ")
        self._letters = Letters(jetstream, subjects)
        self._counted: tuple[int, int] | None = None
        self._shown: set[tuple[str, str, str]] = set()

    async def run(self) -> None:
        """Until the connection is lost. Raises ConnectionLost."""
        while True:
            began = time.monotonic()
            try:
                await self.count()
            except (JetStreamError, NoAnswer) as error:
                log.warning("dead letters are counted again in a minute", because=str(error))
            await asyncio.sleep(max(EVERY_S, SHARE * (time.monotonic() - began)))

    async def count(self) -> None:
        """Sets the gauge; nothing is read where nothing changed. Raises JetStreamError, NoAnswer, ConnectionLost."""
        info = await self._jetstream.stream_info(self._stream)
        if info is None:
            return
        state = info["state"]
        now = state["last_seq"], state["messages"]
        if now == self._counted:
            return
        counts = Counter(
            (glance.id.tenant, glance.id.route, glance.reason) for glance in await self._letters.glances()
        )
        self._counted = now
        for gone in self._shown - counts.keys():
            DEAD_LETTERS.remove(*gone)
        for labels, count in counts.items():
            DEAD_LETTERS.labels(*labels).set(count)
        self._shown = set(counts)
