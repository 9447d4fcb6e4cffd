"""Events gathered into groups for the group commit: whole transactions together, large ones in pieces."""

from cdc.position import FINISHED, Mark
from eventbus.group_commit import Group, Outgoing

GROUP_EVENTS = 900
"""A batch holds 999: small groups fill it up."""
GROUP_BYTES = 2**20
SMALL_GROUP = 32
"""Complete transactions are grouped by so many events, so that groups fill a batch to its brim."""


class TransactionGroups:
    """The open transaction's events, behind those of complete ones, until they are taken."""

    def __init__(self, resume_after: Mark) -> None:
        """Events at or before `resume_after` are published already, and dropped."""
        self._published = resume_after.key
        self._grouped_to = resume_after
        self._messages: list[Outgoing] = []
        self._size = 0
        self._complete = 0
        self._complete_size = 0
        # where the last complete transaction, or message outside transactions, stands
        self._ended, self._flush = (0, FINISHED), resume_after.flush
        self._groups: list[Group[Mark]] = []

    def add(self, message: Outgoing) -> None:
        """The open transaction's next event, with (LSN, ordinal) as its key."""
        if message.key <= self._published:
            return
        self._messages.append(message)
        self._size += len(message.payload) + len(message.headers) + len(message.subject)
        if self._size >= GROUP_BYTES or len(self._messages) >= GROUP_EVENTS:
            self._cut()

    def add_lone(self, message: Outgoing, lsn: int) -> None:
        """A message outside transactions, whose record ends at `lsn`."""
        self.add(message)
        self.finish(lsn, lsn, ordinal=0)

    def finish(self, lsn: int, end_lsn: int, ordinal: int = FINISHED) -> None:
        """The open transaction ended."""
        self._complete, self._complete_size = len(self._messages), self._size
        self._ended, self._flush = (lsn, ordinal), end_lsn
        if self._complete >= SMALL_GROUP:
            self._group_complete()

    def take(self) -> list[Group[Mark]]:
        """All but the open transaction, or the last of it."""
        self._group_complete()
        groups, self._groups = self._groups, []
        return groups

    def _cut(self) -> None:
        """Complete transactions go; where there are none, the open one is too large to wait for its end."""
        if self._complete:
            self._group_complete()
        else:
            lsn, ordinal = self._messages[-1].key
            # within a transaction PostgreSQL may let go of no more than before it
            mark = Mark(int(lsn), int(ordinal), self._flush)
            self._group(len(self._messages), self._size, mark)

    def _group_complete(self) -> None:
        complete_to = Mark(*self._ended, self._flush)
        ended = self._grouped_to.within_transaction and complete_to.key > self._grouped_to.key
        if self._complete or ended:
            self._group(self._complete, self._complete_size, complete_to)
            self._complete = self._complete_size = 0

    def _group(self, count: int, size: int, mark: Mark) -> None:
        messages, self._messages = self._messages[:count], self._messages[count:]
        self._groups.append(Group(messages, mark, size))
        self._size -= size
        self._grouped_to = mark
