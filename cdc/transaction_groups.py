"""Events gathered into groups for the group commit: whole transactions together, large ones in pieces."""

from cdc.position import Mark
from eventbus.group_commit import Group, Outgoing

GROUP_EVENTS = 900
"""A batch holds 999: small groups fill it up."""
GROUP_BYTES = 2**20


class _Part:
    """Messages on their way into one group."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []
        self.size = 0

    @property
    def full(self) -> bool:
        return len(self.messages) >= GROUP_EVENTS or self.size >= GROUP_BYTES

    def fits(self, other: "_Part") -> bool:
        return (
            len(self.messages) + len(other.messages) <= GROUP_EVENTS and self.size + other.size <= GROUP_BYTES
        )


class TransactionGroups:
    """The open transaction's events, and those of complete ones, until they are taken."""

    def __init__(self, mark: Mark) -> None:
        self._complete_to = self._grouped_to = mark
        self._complete = _Part()
        self._open = _Part()
        self._groups: list[Group[Mark]] = []

    def add(self, message: Outgoing) -> None:
        """The open transaction's next event, with (LSN, ordinal) as its key."""
        part = self._open
        part.messages.append(message)
        part.size += len(message.payload) + len(message.headers) + len(message.subject)
        if part.full:
            self._group_complete()
            lsn, ordinal = message.key
            # within a transaction PostgreSQL may let go of no more than before it
            self._group(part, Mark(int(lsn), int(ordinal), self._complete_to.flush))
            self._open = _Part()

    def finish(self, mark: Mark) -> None:
        """The open transaction ended; after it `mark` holds."""
        if not self._complete.fits(self._open):
            self._group_complete()
        self._complete.messages += self._open.messages
        self._complete.size += self._open.size
        self._open = _Part()
        self._complete_to = mark

    def take(self) -> list[Group[Mark]]:
        self._group_complete()
        groups, self._groups = self._groups, []
        return groups

    def _group_complete(self) -> None:
        ended = self._grouped_to.within_transaction and self._complete_to.key > self._grouped_to.key
        if self._complete.messages or ended:
            self._group(self._complete, self._complete_to)
            self._complete = _Part()

    def _group(self, part: _Part, mark: Mark) -> None:
        self._groups.append(Group(part.messages, mark, part.size))
        self._grouped_to = mark
