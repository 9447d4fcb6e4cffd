"""What the lane brings of a route while it comes back: kept beside until it is known how far its own consumer is (rule R7)."""

from collections.abc import Callable, Iterator

from eventbus.message import Message
from pipeline.delivery.retry_record import Known
from pipeline.lanes.state import Taken
from pipeline.lanes.work import LaneWork
from pipeline.routes.trouble import Trouble, Word


class ParkedMessages:
    """Of one route (`tenant/route`)."""

    def __init__(self, work: LaneWork, route: str) -> None:
        self._work = work
        self._route = route
        self._messages: dict[int, Message] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages.values())

    def add(self, message: Message) -> None:
        self._messages[message.seq] = message

    def drop(self) -> None:
        """The route stays apart: its own consumer brings them."""
        self._work.troubles.unpark(self._route)
        for seq in sorted(self._messages):
            self._work.acks.unseen(self._messages[seq])
        self._messages.clear()

    async def take_back(self, trouble: Trouble, is_back: Callable[[str], None]) -> None:
        """They are the lane's again, but for what was settled apart. is_back: called before the first of them may go."""
        work = self._work
        work.state.stop(self._route)
        work.troubles.take(self._route, trouble)
        for seq, message in sorted(self._messages.items()):
            known = work.state.known(seq)
            if known is Taken.SETTLED or work.troubles.on_lane(self._route, seq) is Word.UNSEEN:
                work.acks.unseen(message)
            elif known is Taken.HELD:
                # what is new was never tried
                await work.hold(message, Known())
        self._messages.clear()
        is_back(self._route)
        for seq in work.state.go(self._route):
            work.turns.offer(seq)
