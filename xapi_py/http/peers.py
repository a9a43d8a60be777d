"""Who is at the other end of a connection."""

import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

_CREDENTIALS: Final = struct.Struct("iII")


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end.

    ``kind`` is "tcp", "tls" or "unix".  ``uid`` is the user id of the process
    at the other end of a unix socket, None elsewhere or when it is unknown.
    """

    kind: str
    address: str
    uid: int | None = None


def peer_of(transport: Any, kind: str) -> Peer:
    """Tell who is at the other end of a transport."""
    if kind == "unix":
        return Peer("unix", "", _unix_uid(transport))
    return Peer(kind, str(getattr(transport.getPeer(), "host", "")))


def _unix_uid(transport: Any) -> int | None:
    """Give the user id the kernel vouches for."""
    try:
        data = transport.getHandle().getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
    except (AttributeError, OSError):
        return None
    _, uid, _ = _CREDENTIALS.unpack(data)
    return int(uid)
