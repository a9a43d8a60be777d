"""Fixtures of the system tests: labs, see lab.py.  Tests that use one are marked ``lab``."""

import os
import time
from collections.abc import Sequence
from typing import Final

import pytest

from tests.system.lab import _plain_lab, _xen_lab, _xen_pair, plain_lab, xen_lab, xen_pair

__all__ = ["_plain_lab", "_xen_lab", "_xen_pair", "plain_lab", "xen_lab", "xen_pair"]

LABS: Final = frozenset({"_plain_lab", "_xen_lab", "_xen_pair"})


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Let whole labs be chosen, or left out, by marker."""
    for item in items:
        if isinstance(item, pytest.Function) and not LABS.isdisjoint(item.fixturenames):
            item.add_marker("lab")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no test in a lab after ``XENLAB_DEADLINE`` (unix time): a run has to end some time."""
    deadline = float(os.environ.get("XENLAB_DEADLINE") or "inf")
    if item.get_closest_marker("lab") and time.time() > deadline:
        pytest.skip("XENLAB_DEADLINE is over, the run's time goes to what has begun")
