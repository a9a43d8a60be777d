"""Modules are loaded when they are first used."""

import subprocess
import sys

PROGRAM = """
import sys
from xapi_py.base import lazy
module = lazy.LazyModule("colorsys")
assert "colorsys" not in sys.modules
assert module.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
lazy.LazyModule("sched")
lazy.load_all()
assert "sched" in sys.modules
"""


def test_a_module_is_loaded_when_it_is_used_or_when_all_are() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_the_server_starts_without_what_is_used_later() -> None:
    program = "import sys, xapi_py.main; assert not {'numpy', 'wsproto'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
