"""What a command's code is given: its words, the API, the printer, the client."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from xapi_py.api.inside import InsideCaller
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.cli.printer import Printer
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.table import CommandSpec, Tables
from xapi_py.cli.words import Words

NOT_IN_DATABASE = "<not in database>"


class Client(Protocol):
    """The user's side: files, transfers and questions.

    Every method raises ClientGone when the client leaves.
    """

    async def load(self, filename: str) -> bytes:
        """Give the content of a file; raises CommandFailed when there is none."""

    async def prompt(self) -> str:
        """Give one line the user typed."""

    async def download(self, filename: str, url: str) -> bool:
        """Have the client fetch ``url`` into a file; whether it could."""

    async def upload(self, filename: str, url: str) -> bool:
        """Have the client send a file to ``url``; whether it could."""

    async def tunnel(self, url: str) -> bool:
        """Join the client's terminal to ``url``; whether it could."""

    def say(self, text: str) -> None:
        """Print past the printer, also in minimal mode."""

    def say_error(self, text: str) -> None:
        """Print on standard error past the printer, as it is."""

    async def or_gone(self, waiting: Any) -> Any:
        """Wait for a Deferred, and cancel it if the client leaves meanwhile."""


@dataclass(slots=True, eq=False)
class Context:
    """One run of a command."""

    words: Words
    command: CommandSpec
    tables: Tables
    api: InsideCaller
    printer: Printer
    client: Client
    coordinator: str = ""
    """The pool coordinator's address."""
    uuids: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def model(self) -> Any:
        """The data model as this server's clients see it."""
        return self.api.model

    def by_uuid(self, cls: str, uuid: str) -> Ref:
        """Find an object.  Errors: UUID_INVALID."""
        return Ref(self.api.read(f"{cls}.get_by_uuid", uuid))

    def optional(self, cls: str, name: str) -> Ref:
        """Find the object a parameter names by uuid; NULL_REF when it is not given."""
        return self.by_uuid(cls, self.words.get(name)) if self.words.get(name) else NULL_REF

    def record(self, cls: str, ref: str) -> Any:
        """Give an object's row.  Errors: HANDLE_INVALID."""
        return self.api.read(f"{cls}.get_record", ref)

    def records(self, cls: str) -> list[Any]:
        """Give the rows of all objects of a class."""
        return self.api.read_rows(f"{cls}.get_all_records")

    def uuid(self, cls: str, ref: str) -> str:
        """Give an object's uuid, or a text that says there is none."""
        key = (cls, ref)
        found = self.uuids.get(key)
        if found is None:
            found = self.uuids[key] = self._read(cls, "uuid", ref)
        return found

    def name(self, cls: str, ref: str) -> str:
        """Give an object's name label, or a text that says there is none."""
        return self._read(cls, "name_label", ref)

    def _read(self, cls: str, field_name: str, ref: str) -> str:
        if ref in (NULL_REF, ""):
            return NOT_IN_DATABASE
        try:
            return str(self.api.read(f"{cls}.get_{field_name}", ref))
        except ApiError as error:
            if error.code == "HANDLE_INVALID":
                return NOT_IN_DATABASE
            raise

    @property
    def pool(self) -> Any:
        """The row of the pool."""
        return self.records("pool")[0]

    @property
    def this_host(self) -> Ref:
        """The host this server runs on."""
        return Ref(self.api.read("session.get_this_host", self.api.session))

    def find_host(self, text: str) -> Ref:
        """Find a host by uuid or name.  Errors: CommandFailed."""
        for row in self.records("host"):
            if text in (row.uuid, row.name_label):
                return Ref(row.ref)
        raise CommandFailed(f"Host {text} not found")
