"""Fixtures of the system tests: labs, see lab.py.  Tests that use one are marked ``lab``."""

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
