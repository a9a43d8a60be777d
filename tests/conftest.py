"""Fixtures of all suites: pools of real processes, recorded exchanges.

``server`` is shared by the tests of one module, ``shared_server`` by all
modules: use that one for tests that leave nothing behind.  ``make_pool`` starts
pools with options of the test's own, stopped at its end.
"""

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.integration.running_pool import RunningPool, running

settings.register_profile("shared machine", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=25)
settings.load_profile("shared machine")  # time is no test's business

MakePool = Callable[..., RunningPool]


def pytest_collection_finish() -> None:
    """Keep the collector from walking the imported modules and the model: half of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)


def pytest_runtest_logfinish() -> None:
    """Stay below 1024 open files: servers of ended tests wait for the collector."""
    if len(os.listdir("/proc/self/fd")) > 300:
        gc.collect()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--traces", metavar="DIR", help="exchanges recorded with a real server, and replay.py"
    )
    parser.addoption(
        "--xe-transcripts", metavar="DIR", help="runs of the original xe against a real server"
    )
    parser.addoption("--xe-original", metavar="PROGRAM", help="the xe of a XenServer")
    parser.addoption(
        "--kill-rounds", type=int, default=8, metavar="N", help="daemons killed under load"
    )
    parser.addoption(
        "--storage-kill-rounds", type=int, default=9, metavar="N", help="kills under disks' work"
    )
    parser.addoption("--power-cuts", type=int, default=2, metavar="N", help="of a lab machine")
    parser.addoption("--failed-to", metavar="FILE", help="write the names of failed tests there")
    parser.addoption("--kill-seed", type=int, default=1, metavar="N", help="order and moments")


class FailedTests:
    """Lists failed tests in a file, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._names[report.nodeid] = None
            self._path.write_text("".join(f"{name}\n" for name in self._names))


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--failed-to")
    if path and not hasattr(config, "workerinput"):  # workers report to the one that has it
        config.pluginmanager.register(FailedTests(Path(path)))


@pytest.fixture(scope="session")
def traces(request: pytest.FixtureRequest) -> Path:
    """The folder with recorded exchanges; skips where none was given."""
    folder = request.config.getoption("--traces")
    if not folder:
        pytest.skip("no recorded exchanges: give their folder with --traces")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def transcripts(request: pytest.FixtureRequest) -> Path:
    """The folder with recorded runs of xe; skips where none was given."""
    folder = request.config.getoption("--xe-transcripts")
    if not folder:
        pytest.skip("no recorded runs of xe: give their folder with --xe-transcripts")
    return Path(folder).resolve()


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
