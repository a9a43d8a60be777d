"""The supervisor's event loop: signals, ready pipes, timers."""

import contextlib
import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

Call = Callable[[], None]
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Loop:
    """Call back for signals, readable descriptors and passed time; one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Call]] = []
        self._cancelled: set[int] = set()
        self._order = itertools.count()

    def now(self) -> float:
        """Give the time in seconds on a clock that never goes back."""
        return time.monotonic()

    def watch(self, descriptor: int, call: Call) -> None:
        """Call ``call`` whenever the descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, call)

    def forget(self, descriptor: int) -> None:
        """Watch the descriptor no longer; call before closing it."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def later(self, delay_s: float, call: Call) -> int:
        """Call ``call`` after a delay; the answer is for ``cancel``."""
        number = next(self._order)
        heapq.heappush(self._timers, (self.now() + delay_s, number, call))
        return number

    def cancel(self, timer: int) -> None:
        """Cancel a timer that has not fired yet."""
        self._cancelled.add(timer)

    def run(self, finished: Callable[[], bool], on_signal: Callable[[int], None]) -> None:
        """Run until ``finished`` says so; ``on_signal`` gets every signal in SIGNALS."""
        with _wakeup(SIGNALS) as pipe:
            self.watch(pipe.fileno(), lambda: _drain(pipe, on_signal))
            try:
                while not finished():
                    for key, _ in self._selector.select(self._patience()):
                        if self._selector.get_map().get(key.fileobj) == key:
                            key.data()  # an earlier one of these calls may have forgotten it
                    self._fire()
            finally:
                self.forget(pipe.fileno())

    def _patience(self) -> float | None:
        return max(0.0, self._timers[0][0] - self.now()) if self._timers else None

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now():
            _, number, call = heapq.heappop(self._timers)
            if number in self._cancelled:
                self._cancelled.discard(number)
            else:
                call()


@contextlib.contextmanager
def _wakeup(numbers: tuple[signal.Signals, ...]) -> Iterator[socket.socket]:
    """Turn signals into bytes on a socket while the block runs.

    A signal that was being ignored (nohup, a shell's background job) stays so.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in wanted}
    old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()


def _drain(pipe: socket.socket, on_signal: Callable[[int], None]) -> None:
    with contextlib.suppress(BlockingIOError):
        for number in dict.fromkeys(pipe.recv(4096)):
            on_signal(number)
