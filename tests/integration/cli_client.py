"""A client of the command line inside the test: no process for each command."""

import re
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from ocaml_compat import thin_cli
from ocaml_compat.thin_cli import (
    Chunk,
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
)


@dataclass
class Done:
    """What a command printed and asked for, and its exit status."""

    out: str = ""
    err: str = ""
    code: int = -1
    asked: list[Message] = field(default_factory=list)

    @property
    def value(self) -> str:
        """Standard output without the newline."""
        return self.out.strip()


class CliClient:
    """Runs commands over a server's unix socket; transfers are not carried out."""

    def __init__(self, path: str) -> None:
        self._path = path

    def run(
        self,
        *words: str,
        typed: str = "yes",
        files: Mapping[str, bytes] | None = None,
        user: str = "root",
        password: str = "",
    ) -> Done:
        """Run a command; ``typed`` answers questions, ``files`` are what can be loaded."""
        body = "\n".join([*words, f"username={user}", f"password={password}"]).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(60)
            connection.connect(self._path)
            head = f"POST /cli HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            greeting = b""
            while len(greeting) < thin_cli.GREETING_BYTES:
                greeting += connection.recv(thin_cli.GREETING_BYTES - len(greeting))
            thin_cli.read_greeting(greeting)
            connection.sendall(thin_cli.greeting())
            return self._obey(connection, typed, files or {})

    def line(self, text: str, **how: object) -> Done:
        """Run a command given as a shell would read it."""
        return self.run(*shlex.split(text), **how)  # type: ignore[arg-type]

    def must(self, text: str) -> str:
        """Run a command that has to succeed; gives what it printed."""
        done = self.line(text)
        assert done.code == 0, f"{text}: {done.err}"
        return done.value

    def _obey(self, connection: socket.socket, typed: str, files: Mapping[str, bytes]) -> Done:
        done, decoder = Done(), Decoder()
        while True:
            data = connection.recv(65536)
            assert data, "the server closed the connection without a word"
            for message in decoder.feed(data):
                match message:
                    case Print(text):
                        done.out += text + "\n"
                    case PrintError(text):
                        done.err += text
                    case Failure(code, params):
                        done.err += f"Error code: {code}\nError parameters: {', '.join(params)}\n"
                    case Exit(code):
                        done.code = code
                        return done
                    case Prompt():
                        self._send_data(connection, typed.encode())
                    case Load(filename):
                        done.asked.append(message)
                        if filename in files:
                            connection.sendall(thin_cli.encode(Ok()))
                            self._send_data(connection, files[filename])
                        else:
                            connection.sendall(thin_cli.encode(Failed()))
                    case HttpGet() | HttpPut() | HttpConnect():
                        done.asked.append(message)
                        connection.sendall(thin_cli.encode(Failed()))

    @staticmethod
    def _send_data(connection: socket.socket, data: bytes) -> None:
        connection.sendall(thin_cli.encode(Chunk(len(data))) + data + thin_cli.encode(End()))


LABEL = re.compile(r"^ *(\S+) \( *([SM]?R[OW])\)", re.MULTILINE)


def labels(text: str) -> list[str]:
    """Give the field names of classic output."""
    return [match[1] for match in LABEL.finditer(text)]
