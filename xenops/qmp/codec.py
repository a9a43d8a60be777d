"""QMP without I/O: JSON lines in, what they mean out.

Source: QEMU's QMP specification, version 1.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

MAX_LINE: Final = 16 * 1024 * 1024


class QmpProtocolError(Exception):
    """The other end does not speak QMP; the connection is of no further use."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What QEMU says first; it answers commands from now on."""

    version: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a command: ``error`` is empty, or the class of the error."""

    id: int
    result: Any = None
    error: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened by itself."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)


Message = Greeting | Reply | Event


class QmpDecoder:
    """Cut a stream into messages."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes of QEMU and give the messages they complete.

        Errors: QmpProtocolError.  Messages of kinds unknown here are left out.
        """
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE:
            raise QmpProtocolError("a line is too long")
        found = (_message(line) for line in lines if line.strip())
        return [message for message in found if message is not None]


def _message(line: bytes) -> Message | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as problem:
        raise QmpProtocolError(f"not JSON: {line[:80]!r}") from problem
    if not isinstance(value, dict):
        raise QmpProtocolError(f"not an object: {line[:80]!r}")
    if "QMP" in value:
        return Greeting(_version(value["QMP"]))
    if "event" in value:
        return Event(str(value["event"]), value.get("data") or {})
    if "return" in value and isinstance(value.get("id"), int):
        return Reply(value["id"], value["return"])
    error = value.get("error")
    if isinstance(error, dict) and isinstance(value.get("id"), int):
        return Reply(value["id"], None, str(error.get("class", "")), str(error.get("desc", "")))
    return None


def _version(greeting: object) -> str:
    try:
        qemu = greeting["version"]["qemu"]  # type: ignore[index]
        return f"{qemu['major']}.{qemu['minor']}.{qemu['micro']}"
    except (KeyError, TypeError):
        return ""


def command(id: int, name: str, arguments: Mapping[str, object]) -> bytes:
    """Give the line that asks QEMU to do something."""
    value: dict[str, object] = {"execute": name, "id": id}
    if arguments:
        value["arguments"] = arguments
    return orjson.dumps(value) + b"\n"
