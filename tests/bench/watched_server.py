"""The API server with a watch on its event loop, for the bar on stalls.

SIGUSR1 has it write the longest busy turns since the last time to
``$XAPI_BENCH_STALLS``: seconds of wall and of this thread's processor time.
"""

import heapq
import json
import os
import signal
import time
from pathlib import Path
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
        self._longest: list[tuple[float, float]] = []

    def poll(self, *arguments: Any) -> Any:
        turn = (time.perf_counter() - self._woken, time.thread_time() - self._spent)
        if len(self._longest) < KEPT:
            heapq.heappush(self._longest, turn)
        elif turn > self._longest[0]:
            heapq.heapreplace(self._longest, turn)
        found = self._poller.poll(*arguments)
        self._woken, self._spent = time.perf_counter(), time.thread_time()
        return found

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
