"""Objects that stay are not walked by the collector."""

import subprocess
import sys
from typing import Final

PROGRAM: Final = """
import gc, weakref
from xapi_py.base import garbage
class Thing: pass
garbage.SLOW_S = 0.0  # every full collection counts as slow
garbage.postpone()
assert not gc.isenabled()
kept = [[] for _ in range(300_000)]
garbage.settle()
assert gc.isenabled() and gc.get_freeze_count() > 300_000
frozen = gc.get_freeze_count()
more = [[] for _ in range(1_000_000)]
gc.collect()
assert gc.get_freeze_count() > frozen + 999_000, "what a slow collection left is frozen"
del more
a = Thing(); a.self = a; gone = weakref.ref(a); del a
gc.collect()
assert gone() is None, "young cycles are still found"
"""


def test_old_objects_are_frozen_and_young_garbage_is_found() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
