"""Request bodies that are read while they arrive."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from twisted.internet.defer import Deferred

HIGH_WATER_BYTES: Final = 4 << 20
LOW_WATER_BYTES: Final = 1 << 20


class BodyCutShort(Exception):
    """The client left before the announced end of its body."""


class BodyStream:
    """The body of an upload, with back-pressure.

    ``pause`` and ``resume`` stop and restart the client when the reader falls
    behind: at most about 4 MiB wait here.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._needed_bytes = 1
        self._paused = False
        self._ended = False
        self._cut_short = False
        self._reader: Deferred[None] | None = None
        self.received_bytes = 0

    @property
    def paused(self) -> bool:
        """Whether the client is stopped because the reader is behind."""
        return self._paused

    @property
    def ended(self) -> bool:
        """Whether nothing more will arrive."""
        return self._ended

    async def read(self, at_least: int = 1) -> bytes:
        """Give the next piece, ``b""`` at the end.

        ``at_least``: wait for that many bytes, but for the end, and give all that came.
        Errors: BodyCutShort when the client left too early and all that came
        has been read.  One reader at a time.
        """
        self._needed_bytes = min(at_least, HIGH_WATER_BYTES)
        while not self._ended and self._waiting_bytes < self._needed_bytes:
            self._reader = Deferred()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self._chunks:
            if self._cut_short:
                raise BodyCutShort(f"after {self.received_bytes} bytes")
            return b""
        if at_least > 1:
            piece = b"".join(self._chunks)
            self._chunks.clear()
        else:
            piece = self._chunks.popleft()
        self._waiting_bytes -= len(piece)
        if self._paused and self._waiting_bytes <= LOW_WATER_BYTES:
            self._paused = False
            self._resume()
        return piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        if self._ended or not data:
            return
        self._chunks.append(data)
        self._waiting_bytes += len(data)
        self.received_bytes += len(data)
        if not self._paused and self._waiting_bytes >= HIGH_WATER_BYTES:
            self._paused = True
            self._pause()
        self._wake()

    def finish(self, *, cut_short: bool = False) -> None:
        """Note that nothing more will arrive."""
        if self._ended:
            return
        self._ended = True
        self._cut_short = cut_short
        self._wake()

    def discard(self) -> None:
        """Drop what waits and let the client go on."""
        self._chunks.clear()
        self._waiting_bytes = 0
        if self._paused:
            self._paused = False
            self._resume()

    def _wake(self) -> None:
        reader = self._reader
        enough = self._ended or self._waiting_bytes >= self._needed_bytes
        if enough and reader is not None and not reader.called:
            reader.callback(None)


NO_BODY: Final = BodyStream(lambda: None, lambda: None)
"""Nothing to read: for requests whose body is collected before they are handled."""
NO_BODY.finish()
