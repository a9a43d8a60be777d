"""The server's side of a WebSocket that carries bytes.

The handshake is part of the HTTP request; ``wsproto`` does the framing.
Clients ask for the subprotocol ``binary`` and always get it.
Source: brief CLIENTS, item 14.
"""

import base64
import hashlib
from typing import TYPE_CHECKING

from xapi_py.base.lazy import LazyModule
from xapi_py.http.messages import Headers, HttpError, Request
from xapi_py.transfer.relay import Finished

if TYPE_CHECKING:
    from wsproto import frame_protocol
else:
    frame_protocol = LazyModule("wsproto.frame_protocol")

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(request: Request) -> Headers:
    """Give the headers of the answer that accepts a WebSocket.

    Errors: HttpError 400 for a request that is no valid handshake.
    """
    key = request.headers.get("sec-websocket-key", "")
    upgrade = request.headers.get("upgrade", "").lower()
    if upgrade != "websocket" or not key:
        raise HttpError(400, "a WebSocket handshake is expected here")
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", base64.b64encode(digest).decode()),
        ("Sec-WebSocket-Protocol", "binary"),
    )


class BinaryFrames:
    """Frames to bytes and back, for one connection."""

    def __init__(self) -> None:
        self._frames = frame_protocol.FrameProtocol(client=False, extensions=[])

    def encode(self, data: bytes) -> bytes:
        """Put bytes into one binary frame."""
        return bytes(self._frames.send_data(data, fin=True))

    def decode(self, data: bytes) -> bytes:
        """Give the payload of the data frames in ``data``.

        Errors: Finished when the client closes or breaks the protocol.
        """
        payload = bytearray()
        self._frames.receive_bytes(data)
        try:
            for frame in self._frames.received_frames():
                if frame.opcode is frame_protocol.Opcode.CLOSE:
                    raise Finished(
                        bytes(self._frames.close(frame_protocol.CloseReason.NORMAL_CLOSURE))
                    )
                if frame.opcode is frame_protocol.Opcode.BINARY:
                    payload += bytes(frame.payload)  # type: ignore[arg-type]
                elif frame.opcode is frame_protocol.Opcode.TEXT:
                    payload += str(frame.payload).encode()
        except Finished:
            raise
        except Exception as error:  # wsproto's errors have no common base
            raise Finished(self._close(frame_protocol.CloseReason.PROTOCOL_ERROR)) from error
        return bytes(payload)

    def _close(self, reason: "frame_protocol.CloseReason") -> bytes:
        return bytes(self._frames.close(reason))
