"""Fixtures that start real pools.

``server`` is shared by the tests of one module, ``shared_server`` by all
modules: use that one for tests that leave nothing behind.  ``make_pool`` starts
pools with options of the test's own, stopped at its end.
"""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.integration.running_pool import RunningPool, running

MakePool = Callable[..., RunningPool]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningPool]:
    with running() as pool:
        yield pool.start()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RunningPool]:
    with running() as pool:
        yield pool.start()


@pytest.fixture(scope="session")
def bare_server() -> Iterator[RunningPool]:
    """A host as bare as the one the traces were recorded on, newest profile."""
    with running("--bare", "--profile", "newest") as pool:
        yield pool.start()


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    with contextlib.ExitStack() as stack:

        def make(*options: str, **how: object) -> RunningPool:
            return stack.enter_context(running(*options, **how))  # type: ignore[arg-type]

        yield make
