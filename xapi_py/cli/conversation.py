"""The connection to one client: frames in and out, questions and their answers.

A conversation starts after the HTTP request; see CLI-PROTOCOL 2.5 and 3.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from ocaml_compat import thin_cli
from ocaml_compat.thin_cli import (
    Chunk,
    Decoder,
    End,
    Failed,
    HttpConnect,
    HttpGet,
    HttpPut,
    Load,
    Message,
    Ok,
    Print,
    PrintError,
    Prompt,
    ProtocolError,
    Wait,
)
from xapi_py.cli.problems import ClientGone, CommandFailed

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 32 * 1024 * 1024
"""A client may send no larger file; transfers go over connections of their own."""

Serve = Callable[["Conversation"], Awaitable[int]]
"""Runs the command and gives the exit status."""


class Conversation(Protocol):
    """Talks to one client; ``serve`` is run once both sides have greeted."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._greeting = b""
        self._decoder: Decoder | None = None
        self._received: list[Message | bytes] = []
        self._waiting: Deferred[None] | None = None
        self._open = True
        self._pending: set[Deferred[Any]] = set()

    def connectionMade(self) -> None:
        self._write(thin_cli.greeting())

    def dataReceived(self, data: bytes) -> None:
        try:
            if self._decoder is None:
                self._greet(data)
            else:
                self._feed(data)
        except ProtocolError as error:
            log.info("a client of the command line is dropped: %s", error)
            self._transport.abortConnection()

    def connectionLost(self, reason: object = None) -> None:  # type: ignore[override]
        self._open = False
        self._wake()
        for pending in tuple(self._pending):
            pending.cancel()

    @property
    def _transport(self) -> Any:
        return self.transport

    def _greet(self, data: bytes) -> None:
        self._greeting += data
        if len(self._greeting) < thin_cli.GREETING_BYTES:
            return
        greeting, rest = (
            self._greeting[: thin_cli.GREETING_BYTES],
            self._greeting[thin_cli.GREETING_BYTES :],
        )
        major, _ = thin_cli.read_greeting(greeting)
        if major != thin_cli.MAJOR:
            raise ProtocolError(f"protocol version {major}")
        self._decoder = Decoder()
        self._feed(rest)
        running: Deferred[None] = Deferred.fromCoroutine(self._run())
        running.addErrback(lambda failure: log.error("xe failed\n%s", failure.getTraceback()))

    def _feed(self, data: bytes) -> None:
        assert self._decoder is not None
        self._received += self._decoder.feed(data)
        size = sum(len(m) for m in self._received if isinstance(m, bytes))
        if size > MAX_FILE_BYTES:
            raise ProtocolError("the client sends too much")
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _run(self) -> None:
        try:
            code = await self._serve(self)
        except ClientGone:
            return
        self.send(thin_cli.Exit(code))
        if self._open:
            self._transport.loseConnection()

    def _write(self, data: bytes) -> None:
        if self._open:
            self._transport.write(data)

    def send(self, message: Message) -> None:
        """Send a message; nothing happens when the client is gone."""
        self._write(thin_cli.encode(message))

    def say(self, text: str) -> None:
        """Print a text and a newline."""
        self.send(Print(text))

    def say_error(self, text: str) -> None:
        """Print a text on standard error as it is."""
        self.send(PrintError(text))

    async def or_gone(self, waiting: Any) -> Any:
        """Wait for a Deferred, and cancel it if the client leaves meanwhile."""
        self._pending.add(waiting)
        try:
            return await waiting
        finally:
            self._pending.discard(waiting)

    async def _next(self) -> Message | bytes:
        while True:
            while not self._received:
                if not self._open:
                    raise ClientGone
                self._waiting = Deferred()
                await self._waiting
            message = self._received.pop(0)
            if not isinstance(message, Wait):
                return message

    async def _answer(self) -> bool:
        """Read whether the client did what it was asked."""
        match await self._next():
            case Ok():
                return True
            case Failed():
                return False
            case other:
                raise CommandFailed(f"Unexpected message from the client: {other!r:.60}")

    async def _data(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._next()
            if isinstance(message, End):
                return b"".join(parts)
            if isinstance(message, Chunk):
                size += message.length
                if size > MAX_FILE_BYTES:
                    raise CommandFailed("The file is larger than 32 MiB")
            elif isinstance(message, bytes):
                parts.append(message)
            else:
                raise CommandFailed(f"Unexpected message from the client: {message!r:.60}")

    async def load(self, filename: str) -> bytes:
        """Give the content of a file of the client.  Errors: CommandFailed, ClientGone."""
        self.send(Load(filename))
        if not await self._answer():
            raise CommandFailed(f"Failed to read the file {filename}")
        return await self._data()

    async def prompt(self) -> str:
        """Give one line the user typed."""
        self.send(Prompt())
        return (await self._data()).decode("utf-8", "replace")

    async def download(self, filename: str, url: str) -> bool:
        """Have the client fetch ``url`` into a file; whether it could."""
        self.send(HttpGet(filename, url))
        return await self._answer()

    async def upload(self, filename: str, url: str) -> bool:
        """Have the client send a file to ``url``; whether it could."""
        self.send(HttpPut(filename, url))
        return await self._answer()

    async def tunnel(self, url: str) -> bool:
        """Join the client's terminal to ``url``; whether it could."""
        self.send(HttpConnect(url))
        return await self._answer()
