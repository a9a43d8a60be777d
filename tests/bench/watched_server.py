"""The API server with a watch on its event loop, for the bar on stalls.

SIGUSR1 has it write the longest busy turns since the last time to
``$XAPI_BENCH_STALLS``: seconds of wall without the wait for a processor, of wall,
and of this thread's processor time.
"""

import heapq
import json
import os
import signal
import time
from pathlib import Path
from threading import get_native_id
from typing import Any

from twisted.internet import reactor as installed_reactor

from xapi_py.main import main

KEPT = 10


class WatchedPoll:
    """Stands in for the reactor's epoll and times what happens between two polls."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self._woken = time.perf_counter()
        self._spent = time.thread_time()
        self._longest: list[tuple[float, float, float]] = []
        self._schedule = os.open(f"/proc/self/task/{get_native_id()}/schedstat", os.O_RDONLY)
        self._waited = self._run_delay_s()

    def poll(self, *arguments: Any) -> Any:
        wall = time.perf_counter() - self._woken
        waited = self._run_delay_s() - self._waited
        turn = (wall - waited, wall, time.thread_time() - self._spent)
        if len(self._longest) < KEPT:
            heapq.heappush(self._longest, turn)
        elif turn > self._longest[0]:
            heapq.heapreplace(self._longest, turn)
        found = self._poller.poll(*arguments)
        self._waited = self._run_delay_s()
        self._woken, self._spent = time.perf_counter(), time.thread_time()
        return found

    def _run_delay_s(self) -> float:
        """Seconds this thread was ready to run while others had the processors."""
        return int(os.pread(self._schedule, 64, 0).split()[1]) / 1e9

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def report(self, path: Path) -> None:
        """Write the longest turns, the longest first, and forget them."""
        turns, self._longest = sorted(self._longest, reverse=True), []
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(turns))
        partial.rename(path)


def watched() -> None:
    """Run the server under watch."""
    reactor: Any = installed_reactor
    reactor._poller = poller = WatchedPoll(reactor._poller)
    path = Path(os.environ["XAPI_BENCH_STALLS"])
    signal.signal(signal.SIGUSR1, lambda *_: poller.report(path))
    main()


if __name__ == "__main__":
    watched()
