"""Keep the garbage collector away from objects that stay.

A full collection walks every object there is: half a second with 50 000 VMs.
Frozen objects are not walked, and are still freed when nothing refers to
them; only cycles among them would stay.
"""

import gc
import time
from typing import Any, Final

SLOW_S: Final = 0.005
"""A full collection that took longer has found many objects that stay."""

YOUNG_OBJECTS: Final = 10_000
"""So many new objects call for a young collection: some hundred requests, under a millisecond."""


def postpone() -> None:
    """Collect nothing until ``settle``: while starting, nearly everything stays."""
    gc.disable()


def settle() -> None:
    """Freeze what there is now, and from here on what slow collections leave over.

    Blocks for one full collection.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # the next full one is due by the number of objects this one found: none
    if _watch not in gc.callbacks:
        gc.callbacks.append(_watch)
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    gc.enable()


_begun = 0.0


def _watch(phase: str, info: dict[str, Any]) -> None:
    global _begun
    if info["generation"] != 2:
        return
    if phase == "start":
        _begun = time.perf_counter()
    elif time.perf_counter() - _begun > SLOW_S:
        gc.freeze()  # right after a collection there is no garbage to keep by mistake
