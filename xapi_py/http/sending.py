"""Send long bodies at the pace of the client."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped]

log = logging.getLogger(__name__)

_PIECE_BYTES: Final = 128 * 1024


@implementer(IPullProducer)
class ChunkSender:
    """Sends chunks that are all there, some 128 KiB at a time.

    ``sent`` is called when the last one was handed to the transport, and
    ``progress`` each time the client took a piece.
    """

    def __init__(
        self,
        transport: Any,
        chunks: Sequence[bytes],
        sent: Callable[[], None],
        progress: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._chunks = chunks
        self._next = 0
        self._sent = sent
        self._progress = progress

    def start(self) -> None:
        """Begin to send."""
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._progress()
        piece: list[bytes] = []
        size = 0
        while self._next < len(self._chunks) and size < _PIECE_BYTES:
            piece.append(self._chunks[self._next])
            size += len(piece[-1])
            self._next += 1
        if piece:
            self._transport.write(b"".join(piece))
        if self._next >= len(self._chunks):
            self._transport.unregisterProducer()
            self._sent()

    def stopProducing(self) -> None:
        self._chunks = ()


@implementer(IPushProducer)
class StreamSender:
    """Sends what an asynchronous iterator yields, waiting for the client.

    ``sent`` is called at the end, with False if the iterator failed or gave
    another number of bytes than ``length``.  The iterator is closed in any
    case, also when the client leaves.
    """

    def __init__(
        self,
        transport: Any,
        body: AsyncIterator[bytes],
        length: int | None,
        sent: Callable[[bool], None],
        progress: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._body = body
        self._length = length
        self._sent = sent
        self._progress = progress
        self._resumed: Deferred[None] | None = None
        self._paused = False
        self._stopped = False
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._transport.registerProducer(self, True)
        self._running = Deferred.fromCoroutine(self._send())
        self._running.addBoth(self._done)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        if not self._stopped:
            self._stopped = True
            if self._running is not None:
                self._running.cancel()

    async def _send(self) -> None:
        count = 0
        try:
            async for piece in self._body:
                count += len(piece)
                if self._length is not None and count > self._length:
                    raise ValueError(f"the body is longer than the {self._length} bytes announced")
                self._transport.write(piece)
                self._progress()
                if self._paused:
                    self._resumed = Deferred()
                    await self._resumed
            if self._length is not None and count != self._length:
                raise ValueError(f"the body is {count} bytes, not {self._length}")
        finally:
            close = getattr(self._body, "aclose", None)
            if close is not None:
                await close()

    def _done(self, outcome: object) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._transport.unregisterProducer()
        if isinstance(outcome, Failure) and not outcome.check(CancelledError):
            log.error("sending an answer failed\n%s", outcome.getTraceback())
        self._sent(not isinstance(outcome, Failure))


def abandon(body: AsyncIterator[bytes]) -> None:
    """Close the iterator of an answer that nobody waits for any more."""
    close = getattr(body, "aclose", None)
    if close is not None:
        Deferred.fromCoroutine(close()).addErrback(
            lambda failure: log.error("closing an answer failed\n%s", failure.getTraceback())
        )
