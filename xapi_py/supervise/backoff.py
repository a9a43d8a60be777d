"""When to start a process again that ended by itself: pure."""

from dataclasses import dataclass
from typing import Final

QUICK_S: Final = 2.0
FREE_RESTARTS: Final = 3
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0


@dataclass(slots=True)
class Backoff:
    """Count how often in succession a process ended soon after its start.

    A process that lived for ``QUICK_S`` starts again at once, and so do the
    first ``FREE_RESTARTS`` of a row of short lives; then delays double up to
    ``LONGEST_DELAY_S``.
    """

    quick: int = 0

    def ended(self, lived_s: float) -> float:
        """Give the delay in seconds before the next start."""
        self.quick = self.quick + 1 if lived_s < QUICK_S else 0
        if self.quick <= FREE_RESTARTS:
            return 0.0
        doublings = min(self.quick - FREE_RESTARTS - 1, 16)
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * float(2**doublings))
