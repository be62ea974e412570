"""The faults of the demo: what went wrong, by a key or from outside, and how the neurons came over it."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["killed", "network cut", "WebSocket off"]


@dataclass(slots=True)
class DemoFault:
    """One neuron's trouble. Times are seconds into the demo."""

    who: str
    kind: Kind
    at: float
    back_at: float | None = None
    """When the neuron worked again, by whichever road; None until then."""
    waited: int = 0
    """The most predictions that waited for their verdict at once meanwhile."""

    def watch(self, now: float, *, works: bool, waiting: int) -> bool:
        """Note how it goes; returns whether the neuron has just come back.

        Args:
            now: seconds into the demo.
            works: whether the neuron works again.
            waiting: predictions that wait for their verdict now, because of this fault or otherwise.
        """
        if self.back_at is not None:
            return False
        self.waited = max(self.waited, waiting)
        if works:
            self.back_at = now
        return works

    def recovery(self) -> str:
        """How long it took, for people."""
        if self.back_at is None:
            return "not back"
        seconds = f"{self.back_at - self.at:.1f} s"
        return f"by HTTP after {seconds}" if self.kind == "WebSocket off" else f"back after {seconds}"

    def verdicts(self, missing: int) -> str:
        """What became of the predictions that waited, for people.

        Args:
            missing: predictions of the affected miners that have no verdict in the end.
        """
        if missing:
            return f"{self.waited}, {missing} without a verdict"
        return f"{self.waited}, all judged" if self.waited else "none"

    def as_json(self) -> dict[str, Any]:
        """The fault as plain data."""
        back = None if self.back_at is None else round(self.back_at - self.at, 3)
        return {
            "neuron": self.who,
            "fault": self.kind,
            "at_s": round(self.at, 3),
            "back_after_s": back,
            "waited": self.waited,
        }
