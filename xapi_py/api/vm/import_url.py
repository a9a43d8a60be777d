"""VM.import: an XVA file the server fetches itself."""

import ipaddress
from collections import deque
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.vm.import_archive import import_archive
from xapi_py.api.vm.import_target import import_sr
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan.importing import ImportChoice

CONNECT_S = 30.0


@message("VM.import")
async def import_from_url(
    call: Call, url: str, sr: Ref, full_restore: bool, force: bool
) -> tuple[Ref, ...]:
    """Take in the file at an ``http:`` URL of this host; gives its VMs.

    Only this host is asked: the server is not to reach others on behalf of its
    clients.  Errors: INVALID_VALUE for another URL, IMPORT_ERROR when it cannot
    be read, those of ``import_archive``.
    """
    _check_url(url)
    target = import_sr(call.toolstack, sr)
    if target.content_type == "iso":
        raise err.SR_OPERATION_NOT_SUPPORTED(target.ref)
    call.allow_cancel()
    body = await _fetch(call, url)
    try:
        choice = ImportChoice(True, Ref(target.ref), restore=full_restore, force=force)
        return await import_archive(call, choice, body.read)
    finally:
        body.stop()


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        local = parts.hostname == "localhost" or (
            parts.hostname is not None and ipaddress.ip_address(parts.hostname).is_loopback
        )
        allowed = parts.scheme == "http" and local and (parts.port is None or parts.port > 0)
    except ValueError:
        allowed = False
    if not allowed:
        raise err.INVALID_VALUE("url", url)


async def _fetch(call: Call, url: str) -> "_Body":
    reactor: Any = call.toolstack.clock
    try:
        response: Any = await Agent(reactor, connectTimeout=CONNECT_S).request(b"GET", url.encode())
    except ApiError:
        raise
    except Exception as problem:
        raise err.IMPORT_ERROR(f"{url}: {problem}") from problem
    if response.code != 200:
        raise err.IMPORT_ERROR(f"{url}: HTTP status {response.code}")
    body = _Body()
    response.deliverBody(body)
    return body


class _Body(Protocol):
    """A body that is read piece by piece; the sender waits for the reader."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._reader: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        if self._out is not None:
            self._out.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure | None = None) -> None:  # type: ignore[override]
        whole = reason is not None and reason.check(ResponseDone, PotentialDataLoss)
        if not whole:
            self._pieces.clear()
        self._ended = True
        self._wake()

    @property
    def _out(self) -> Any:
        return self.transport

    async def read(self) -> bytes:
        """Give the next piece, none at the end."""
        while not self._pieces:
            if self._ended:
                return b""
            self._reader = Deferred()
            if self._out is not None:
                self._out.resumeProducing()
            try:
                if not self._pieces and not self._ended:
                    await self._reader
            finally:
                self._reader = None
        return self._pieces.popleft()

    def stop(self) -> None:
        """Have no more of it."""
        if not self._ended and self._out is not None:
            self._out.loseConnection()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.called:
            self._reader.callback(None)
