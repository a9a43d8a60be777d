"""One command: send it, then do what the server asks until it says exit."""

import os
import sys

from ocaml_compat import thin_cli
from ocaml_compat.thin_cli import (
    Chunk,
    Debug,
    Decoder,
    End,
    Exit,
    Failed,
    Failure,
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
from xe.connection import Dialler
from xe.failures import ClientError
from xe.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from xe.transfer import Transfers

LOST = "The connection to the server was lost"


class Session:
    """Runs one command over one connection."""

    def __init__(self, settings: Settings, dialler: Dialler, trace: "Any") -> None:
        self._settings = settings
        self._dialler = dialler
        self._trace = trace
        self._connection: Any = None
        self._decoder = Decoder()
        self._waiting: list[Message | bytes] = []
        self._minor = 0
        self._made: Transfers | None = None

    def run(self) -> int:
        """Give the exit status.  Errors: ClientError, OSError."""
        try:
            self._connection = self._dialler.cli()
            try:
                self._send(self._request())
                self._greet()
                code = self._obey()
            finally:
                self._connection.close()
        except BaseException:
            self._discard()
            raise
        if code != 0:
            self._discard()
        return code

    @property
    def _transfers(self) -> "Transfers":
        from xe.transfer import Transfers  # noqa: PLC0415

        if self._made is None:
            typed = self._settings.user_typed
            self._made = Transfers(self._dialler, typed, self._still_busy)
        return self._made

    def _discard(self) -> None:
        if self._made is not None:
            self._made.discard()

    def _request(self) -> bytes:
        body = self._settings.body().encode("utf-8", "surrogateescape")
        head = "POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\noriginator: cli\r\n"
        trace_parent = self._settings.get("traceparent") or os.environ.get("TRACEPARENT", "")
        if trace_parent:
            head += f"traceparent: {trace_parent}\r\n"
        if os.environ.get("BAGGAGE"):
            head += f"baggage: {os.environ['BAGGAGE']}\r\n"
        if sys.stdout.isatty():  # our server then makes help fit; others ignore this
            head += f"xe-terminal: {os.get_terminal_size(1).columns or 80}\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def _greet(self) -> None:
        data = b""
        while len(data) < thin_cli.GREETING_BYTES:
            if data[:4].upper() == b"HTTP":
                raise ClientError("Server internal error.")
            data += self._receive()
        extra = data[thin_cli.GREETING_BYTES :]
        try:
            major, self._minor = thin_cli.read_greeting(data[: thin_cli.GREETING_BYTES])
        except ProtocolError:
            if data[:4].upper() == b"HTTP":
                raise ClientError("Server internal error.") from None
            raise ClientError("The server does not speak the protocol of xe") from None
        if major != thin_cli.MAJOR:
            raise ClientError(
                f"The server speaks version {major} of the protocol, this xe {thin_cli.MAJOR}"
            )
        self._send(thin_cli.greeting())
        self._feed(extra)

    def _obey(self) -> int:
        while True:
            message = self._next()
            self._trace(f"server: {message!r}")
            match message:
                case Print(text):
                    _write(sys.stdout, text + "\n")
                case PrintError(text):
                    _write(sys.stderr, text)
                case Debug(text):
                    self._trace(text)
                case Failure(code, params):
                    _write(sys.stderr, f"Error code: {code}\n")
                    _write(sys.stderr, f"Error parameters: {', '.join(params)}\n")
                case Exit(code):
                    return code
                case Prompt():
                    self._reply_data(sys.stdin.readline().rstrip("\n").encode())
                case Load(filename):
                    self._load(filename)
                case HttpGet(filename, url):
                    self._transfer(lambda f=filename, u=url: self._transfers.get(f, u))
                case HttpPut(filename, url):
                    self._transfer(lambda f=filename, u=url: self._transfers.put(f, u))
                case HttpConnect(url):
                    self._transfer(lambda u=url: self._console(u))
                case _:
                    raise ClientError(f"Unexpected message from the server: {message!r}")

    def _load(self, filename: str) -> None:
        self._transfers.check_readable(filename)
        try:
            with open(filename, "rb") as file:
                data = file.read()
        except OSError as error:
            _write(sys.stderr, f"Cannot read {filename}: {error.strerror}\n")
            self._send_message(Failed())
            return
        self._send_message(Ok())
        self._reply_data(data)

    def _reply_data(self, data: bytes) -> None:
        self._send(thin_cli.encode(Chunk(len(data))) + data + thin_cli.encode(End()))

    def _transfer(self, run: "Any") -> None:
        try:
            done = run()
        except (ClientError, OSError) as error:
            try:  # noqa: SIM105  (contextlib costs start-up time)
                self._send_message(Failed())
            except ClientError:
                pass  # what went wrong first is what counts
            raise ClientError(f"Operation failed. Error: {_said(error)}") from error
        self._send_message(Ok() if done else Failed())

    def _console(self, url: str) -> bool:
        from xe.console import join_console  # noqa: PLC0415

        return join_console(self._dialler, url, self._still_busy)

    def _still_busy(self) -> None:
        if self._minor >= 2:
            self._send_message(Wait())

    def _next(self) -> Message | bytes:
        while not self._waiting:
            self._feed(self._receive())
        return self._waiting.pop(0)

    def _feed(self, data: bytes) -> None:
        try:
            self._waiting = self._decoder.feed(data)
        except ProtocolError as error:
            raise ClientError(f"The server sent nonsense: {error}") from error

    def _receive(self) -> bytes:
        try:
            data = self._connection.recv(65536)
        except OSError as error:
            raise ClientError(f"{LOST}: {error.strerror}") from error
        if not data:
            raise ClientError(LOST)
        return bytes(data)

    def _send_message(self, message: Message) -> None:
        self._trace(f"client: {message!r}")
        self._send(thin_cli.encode(message))

    def _send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise ClientError(f"{LOST}: {error.strerror}") from error


def _write(stream: "Any", text: str) -> None:
    stream.flush()
    stream.buffer.write(text.encode("utf-8", "surrogateescape"))
    stream.flush()


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)
