"""The thin CLI protocol between ``xe`` and the server, both directions, without I/O.

After the request body the server sends a banner and its version, the client
answers with its own, and from then on frames travel both ways.  Start-up time
of ``xe`` matters, so this module does not even import ``typing``.  Source: brief
CLI-PROTOCOL, sections 2.5 and 3; observed on the wire of both versions.
"""

import struct

BANNER = b"XenSource thin CLI protocol"
MAJOR = 0
MINOR = 2
GREETING_BYTES = len(BANNER) + 8
MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A longer frame is refused: no real peer sends one."""

_COMMAND, _RESPONSE, _BLOB = 9, 10, 11
_INT = struct.Struct("<i")
_HEAD = struct.Struct("<iii")
_TWO = struct.Struct("<ii")


class ProtocolError(Exception):
    """The peer sent what the protocol does not allow."""


class _Message:
    """Base of the messages: values that compare by what they hold."""

    __slots__: tuple[str, ...] = ()
    __match_args__: tuple[str, ...] = ()

    def values(self) -> list[object]:
        """Give the arguments in the order of the wire."""
        return [getattr(self, name) for name in self.__match_args__]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.values() == other.values()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), *self.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values()))})"


class _Text(_Message):
    __slots__ = __match_args__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Transfer(_Message):
    __slots__ = __match_args__ = ("filename", "url")

    def __init__(self, filename: str, url: str) -> None:
        self.filename = filename
        self.url = url


class Print(_Text):
    """Write a text and a newline to standard output."""


class PrintError(_Text):
    """Write a text as it is to standard error."""


class Debug(_Text):
    """Write a text to standard error in debug mode."""


class Load(_Message):
    """Send the content of a file of the client."""

    __slots__ = __match_args__ = ("filename",)

    def __init__(self, filename: str) -> None:
        self.filename = filename


class Prompt(_Message):
    """Send one line of standard input."""


class Exit(_Message):
    """End with this status."""

    __slots__ = __match_args__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


class HttpGet(_Transfer):
    """Download ``url`` into a file; an empty name is standard output."""


class HttpPut(_Transfer):
    """Upload a file to ``url``."""


class HttpConnect(_Message):
    """Join the terminal to ``url``."""

    __slots__ = __match_args__ = ("url",)

    def __init__(self, url: str) -> None:
        self.url = url


class Failure(_Message):
    """Show an error code with its parameters; does not end the session."""

    __slots__ = __match_args__ = ("code", "params")

    def __init__(self, code: str, params: tuple[str, ...]) -> None:
        self.code = code
        self.params = params


class Ok(_Message):
    """What was asked for is done, or the file follows."""


class Failed(_Message):
    """What was asked for could not be done."""


class Wait(_Message):
    """Still busy; sent now and then during a transfer."""


class Chunk(_Message):
    """This many raw bytes follow the frame."""

    __slots__ = __match_args__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


class End(_Message):
    """No more chunks."""


Message = (
    Print
    | PrintError
    | Debug
    | Load
    | Prompt
    | Exit
    | HttpGet
    | HttpPut
    | HttpConnect
    | Failure
    | Ok
    | Failed
    | Wait
    | Chunk
    | End
)

_TAGS: dict[type[Message], tuple[int, int]] = {
    Print: (_COMMAND, 0),
    Load: (_COMMAND, 1),
    Prompt: (_COMMAND, 3),
    Exit: (_COMMAND, 4),
    HttpGet: (_COMMAND, 12),
    HttpPut: (_COMMAND, 13),
    Failure: (_COMMAND, 14),
    Debug: (_COMMAND, 15),
    PrintError: (_COMMAND, 16),
    HttpConnect: (_COMMAND, 17),
    Ok: (_RESPONSE, 5),
    Failed: (_RESPONSE, 6),
    Wait: (_RESPONSE, 18),
    Chunk: (_BLOB, 7),
    End: (_BLOB, 8),
}
_TYPES = {tags: kind for kind, tags in _TAGS.items()}
_INTEGERS = (Exit, Chunk)


def greeting(major: int = MAJOR, minor: int = MINOR) -> bytes:
    """Give the bytes both sides send first."""
    return BANNER + _TWO.pack(major, minor)


def read_greeting(data: bytes) -> tuple[int, int]:
    """Read ``GREETING_BYTES`` bytes of a greeting as (major, minor).

    Errors: ProtocolError when they are something else.
    """
    if len(data) != GREETING_BYTES or not data.startswith(BANNER):
        raise ProtocolError("the peer does not speak the thin CLI protocol")
    major, minor = _TWO.unpack_from(data, len(BANNER))
    return major, minor


def encode(message: Message) -> bytes:
    """Give the frame of a message; the data of a Chunk is sent after it."""
    kind = type(message)
    parts: list[bytes] = []
    for value in message.values():
        if isinstance(value, int):
            parts.append(_INT.pack(value))
        elif isinstance(value, str):
            parts.append(_string(value))
        elif isinstance(value, tuple):
            parts += [_INT.pack(len(value)), *map(_string, value)]
    body = b"".join(parts)
    return _HEAD.pack(len(body) + 8, *_TAGS[kind]) + body


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return _INT.pack(len(data)) + data


def decode(payload: bytes) -> Message:
    """Read the payload of one frame.  Errors: ProtocolError."""
    if len(payload) < 8:
        raise ProtocolError("a frame is too short")
    tags = _TWO.unpack_from(payload)
    kind = _TYPES.get(tags)
    if kind is None:
        raise ProtocolError(f"unexpected message {tags[0]}/{tags[1]}")
    reader = _Reader(payload, 8)
    if kind is Failure:
        message: Message = Failure(reader.string(), reader.strings())
    elif kind in _INTEGERS:
        message = kind(reader.integer())  # type: ignore[arg-type,call-arg]
    else:
        message = kind(*(reader.string() for _ in kind.__match_args__))  # type: ignore[arg-type]
    reader.finish()
    if isinstance(message, Chunk) and message.length < 0:
        raise ProtocolError("a chunk of negative length")
    return message


class _Reader:
    """Reads values from a payload, never beyond its end."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._at = start

    def integer(self) -> int:
        if self._at + 4 > len(self._data):
            raise ProtocolError("a frame ends early")
        (value,) = _INT.unpack_from(self._data, self._at)
        self._at += 4
        return int(value)

    def string(self) -> str:
        length = self.integer()
        end = self._at + length
        if length < 0 or end > len(self._data):
            raise ProtocolError("a string is longer than its frame")
        text = self._data[self._at : end].decode("utf-8", "surrogateescape")
        self._at = end
        return text

    def strings(self) -> tuple[str, ...]:
        count = self.integer()
        if count < 0 or count * 4 > len(self._data) - self._at:
            raise ProtocolError("a list is longer than its frame")
        return tuple(self.string() for _ in range(count))

    def finish(self) -> None:
        if self._at != len(self._data):
            raise ProtocolError("a frame is longer than its message")


class Decoder:
    """Turns the bytes of a connection into messages and the raw data of chunks.

    ``feed`` gives what became complete: a ``Message``, or ``bytes`` for a part
    of a chunk's data; the parts that follow a ``Chunk`` add up to its length.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._raw = 0

    def feed(self, data: bytes) -> list[Message | bytes]:
        """Take bytes as they come.  Errors: ProtocolError; the decoder is then of no use."""
        buffer = self._buffer
        buffer += data
        found: list[Message | bytes] = []
        while buffer:
            if self._raw:
                part = bytes(buffer[: self._raw])
                del buffer[: len(part)]
                self._raw -= len(part)
                found.append(part)
                continue
            if len(buffer) < 4:
                break
            (length,) = _INT.unpack_from(buffer)
            if not 8 <= length <= MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes")
            if len(buffer) < 4 + length:
                break
            message = decode(bytes(buffer[4 : 4 + length]))
            del buffer[: 4 + length]
            if isinstance(message, Chunk):
                self._raw = message.length
            found.append(message)
        return found
