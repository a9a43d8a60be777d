"""The command line of a server in memory, with a client that writes everything down."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from ocaml_compat.thin_cli import Failure, Message
from tests.unit.api.server import PASSWORD, Server
from xapi_py.api.call import Caller
from xapi_py.cli.problems import ClientGone
from xapi_py.cli.run import CommandLine
from xapi_py.cli.table import load_tables


class Recorder:
    """Stands where the connection to a client is."""

    def __init__(self, typed: str = "yes", files: dict[str, bytes] | None = None) -> None:
        self.out, self.err = "", ""
        self.asked: list[tuple[str, ...]] = []
        self._typed, self._files = typed, files or {}

    def say(self, text: str) -> None:
        self.out += text + "\n"

    def say_error(self, text: str) -> None:
        self.err += text

    def send(self, message: Message) -> None:
        assert isinstance(message, Failure)
        self.err += f"Error code: {message.code}\nError parameters: {', '.join(message.params)}\n"

    async def prompt(self) -> str:
        return self._typed

    async def load(self, filename: str) -> bytes:
        return self._files[filename]

    async def download(self, filename: str, url: str) -> bool:
        self.asked.append(("download", filename, url))
        return False

    async def upload(self, filename: str, url: str) -> bool:
        self.asked.append(("upload", filename, url))
        return False

    async def tunnel(self, url: str) -> bool:
        self.asked.append(("tunnel", url))
        return False

    async def or_gone(self, waiting: Any) -> Any:
        return await waiting


class LocalCli:
    """Runs commands against a server in memory; ``last`` is what the last one said."""

    def __init__(self, folder: Path, profile: str = "newest", **how: Any) -> None:
        self.server = Server(folder, profile, **how)
        self.tables = load_tables(profile)
        self._line = CommandLine(
            self.server.toolstack, self.server.dispatcher, lambda run: succeed(run())
        )
        self.last = Recorder()

    @property
    def db(self) -> Any:
        return self.server.db

    def start(self, *words: str, client: Recorder | None = None) -> "Deferred[int]":
        """Begin a command; gives a Deferred of its exit status."""
        self.last = client or Recorder()
        body = "\n".join([*words, "username=root", f"password={PASSWORD}"])
        running = self._line.run(body, Caller(), self.last)  # type: ignore[arg-type]
        done: Deferred[int] = Deferred.fromCoroutine(running)
        self.server.settle()
        return done

    def run(self, *words: str, client: Recorder | None = None) -> int:
        """Run a command that ends without waiting; gives its exit status."""
        done = self.start(*words, client=client)
        found: list[Any] = []
        done.addBoth(found.append)
        assert found, f"{words} still waits"
        assert isinstance(found[0], int), found[0]
        return found[0]

    def out(self, *words: str) -> str:
        """Run a command that has to succeed; gives what it printed."""
        assert self.run(*words) == 0, (words, self.last.err)
        return self.last.out


__all__ = ["ClientGone", "LocalCli", "Recorder"]
