"""Which of the lines that come again and again, as long as a route cannot deliver, are worth a place in the log. Pure."""

from dataclasses import dataclass, field

AGAIN_S = 60.0


@dataclass(slots=True)
class RepeatedLines:
    """One lane's. said: by tenant and route, what was said last, and when."""

    said: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def worth(self, tenant: str, route: str, text: str, now: float) -> bool:
        """Whether it is new, or was said `AGAIN_S` ago. now: of a clock that never goes back."""
        last, at = self.said.get((tenant, route), ("", 0.0))
        if text == last and now - at < AGAIN_S:
            return False
        self.said[tenant, route] = (text, now)
        return True
