"""Numbers and layouts of the NBD protocol, newstyle negotiation.

Source: NetworkBlockDevice/nbd, doc/proto.md.  Everything is big-endian.
"""

import struct
from enum import IntEnum, IntFlag
from typing import Final

MAGIC: Final = b"NBDMAGICIHAVEOPT"
OPTION_MAGIC: Final = b"IHAVEOPT"
OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_REPLY_MAGIC: Final = 0x67446698
STRUCTURED_REPLY_MAGIC: Final = 0x668E33EF

OPTION: Final = struct.Struct(">8sII")
"""Magic, option, length of its data."""
OPTION_REPLY: Final = struct.Struct(">QIII")
"""Magic, option, reply type, length."""
REQUEST: Final = struct.Struct(">IHHQQI")
"""Magic, flags, command, cookie, offset, length."""
SIMPLE_REPLY: Final = struct.Struct(">IIQ")
"""Magic, error, cookie."""
STRUCTURED_REPLY: Final = struct.Struct(">IHHQI")
"""Magic, flags, type, cookie, length."""
EXPORT_INFO: Final = struct.Struct(">HQH")
"""Information type, size in bytes, transmission flags."""
BLOCK_SIZES: Final = struct.Struct(">HIII")
"""Information type; least, preferred and largest length of a request."""

MAX_NAME_BYTES: Final = 4096
MAX_OPTION_BYTES: Final = 16 * 1024
MAX_REQUEST_BYTES: Final = 32 << 20
"""The largest read or write that every server has to take."""


class Handshake(IntFlag):
    """Flags both sides start with."""

    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Option(IntEnum):
    """What a client may ask for before it uses an export."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    STARTTLS = 5
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class OptionReply(IntEnum):
    """Answers to options; those from ``UNSUPPORTED`` on are errors."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    UNSUPPORTED = 0x80000001
    POLICY = 0x80000002
    INVALID = 0x80000003
    TLS_REQUIRED = 0x80000005
    UNKNOWN = 0x80000006
    BLOCK_SIZE_REQUIRED = 0x80000008


class Info(IntEnum):
    """What an INFO reply is about."""

    EXPORT = 0
    BLOCK_SIZE = 3


class Feature(IntFlag):
    """Transmission flags: what an export can do."""

    HAS_FLAGS = 1
    READ_ONLY = 2
    FLUSH = 4
    FUA = 8
    TRIM = 32
    WRITE_ZEROES = 64
    NO_FRAGMENT = 128
    MULTIPLE_CONNECTIONS = 256


class Command(IntEnum):
    """Requests of the transmission phase."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


class Chunk(IntEnum):
    """Pieces of a structured reply; those from ``ERROR`` on are errors."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5
    ERROR = 0x8001
    ERROR_OFFSET = 0x8002


REPLY_DONE: Final = 1
"""Flag of the last chunk of a structured reply."""

REQUEST_ONE: Final = 8
"""Request flag: block status of one extent only."""

HOLE: Final = 1
ZERO: Final = 2
"""State flags of ``base:allocation``."""

ALLOCATION: Final = "base:allocation"
DEPTH: Final = "qemu:allocation-depth"


def option(number: int, data: bytes = b"") -> bytes:
    """Write an option of a client."""
    return OPTION.pack(OPTION_MAGIC, number, len(data)) + data


def option_reply(number: int, kind: int, data: bytes = b"") -> bytes:
    """Write a server's answer to an option."""
    return OPTION_REPLY.pack(OPTION_REPLY_MAGIC, number, kind, len(data)) + data


def text(value: str) -> bytes:
    """Write a text with its length before it."""
    encoded = value.encode()
    return struct.pack(">I", len(encoded)) + encoded


def go(export: str) -> bytes:
    """Give the data of GO or INFO that asks for block sizes too."""
    return text(export) + struct.pack(">HH", 1, Info.BLOCK_SIZE)


def meta_contexts(export: str, *names: str) -> bytes:
    """Give the data of SET_META_CONTEXT."""
    return text(export) + struct.pack(">I", len(names)) + b"".join(map(text, names))
