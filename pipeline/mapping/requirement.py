"""`require`: what has to hold, or the event is rejected."""

from dataclasses import dataclass

from pipeline.mapping.errors import RenderError
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.values import Frame
from pipeline.yaml_tree import Mark


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition as it is written; whose: which `require`, for the error."""

    condition: Evaluator
    mark: Mark
    written: str
    whose: str = "the mapping's `require`"

    def hold(self, frame: Frame) -> None:
        """Raises RenderError, class `rejected`, where it does not."""
        if not self.condition(frame):
            raise RenderError(
                "rejected", f"{self.whose} does not hold for this event", self.mark, self.written
            )
