"""When a live migration stops the guest: limits on rounds, traffic and time; pure."""

from dataclasses import dataclass

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What a migration may cost before the guest is stopped for its last part.

    ``small_pages``: so little is left that stopping is hardly felt.
    ``max_rounds``: each round sends what the guest changed during the one before.
    ``max_factor``: how often its memory may be sent in all.  ``max_s``: seconds.
    """

    small_pages: int = 64
    max_rounds: int = 12
    max_factor: float = 3.0
    max_s: float = 600.0


def policy(
    limits: Limits, rounds: int, written: int, dirty: int, memory_bytes: int, elapsed_s: float
) -> str:
    """Choose "continue" or "stop".

    ``written`` and ``dirty`` are pages; -1 for an unknown number of dirty ones.
    """
    if 0 <= dirty <= limits.small_pages:
        return "stop"
    if rounds >= limits.max_rounds or elapsed_s >= limits.max_s:
        return "stop"
    if written * PAGE >= limits.max_factor * memory_bytes:
        return "stop"
    return "continue"
