"""What a VNC client says, so that QEMU understands it; without I/O.

XenCenter sends keys of guests with emulated hardware as scan codes, in a
message of its own (type 254), which any other server takes for the end of the
conversation.  QEMU has an extension for the same purpose (type 255).
"""

import struct
from typing import Final

from xenops.console.rfb import MAX_CUT_TEXT, SCAN_CODE, RfbError

QEMU_MESSAGE: Final = 255
EXTENDED_KEY: Final = 0
_FIXED: Final = {0: 20, 3: 10, 4: 8, 5: 6, SCAN_CODE: 8}


def key_event(down: bool, code: int) -> bytes:
    """Give QEMU's key event for a scan code; extended keys have their prefix byte in ``code``."""
    plain = code & 0x7F | (0x80 if code > 0xFF else 0)
    return struct.pack(">BBHII", QEMU_MESSAGE, EXTENDED_KEY, int(down), 0, plain)


class KeyTranslation:
    """One client's side of a conversation, passed on message by message."""

    def __init__(self) -> None:
        self._buffer = b""
        self._state = "version"

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the client and give those for QEMU.

        Errors: RfbError for messages whose length is unknown.
        """
        self._buffer += data
        passed = b""
        while (size := self._size()) is not None and len(self._buffer) >= size:
            message, self._buffer = self._buffer[:size], self._buffer[size:]
            passed += self._pass_on(message)
        return passed

    def _pass_on(self, message: bytes) -> bytes:
        match self._state:
            case "version":
                # Before 3.7 the server chooses the kind of security by itself.
                old = message[8:11].isdigit() and int(message[8:11]) < 7
                self._state = "init" if old else "security"
            case "security":
                self._state = "init"
            case "init":
                self._state = "normal"
            case _ if message[0] == SCAN_CODE:
                return key_event(bool(message[1]), struct.unpack_from(">I", message, 4)[0])
        return message

    def _size(self) -> int | None:
        """Tell how long the next message is; None while that is not known."""
        if self._state != "normal":
            return 12 if self._state == "version" else 1
        buffer = self._buffer
        if not buffer:
            return None
        kind = buffer[0]
        if kind in _FIXED:
            return _FIXED[kind]
        if kind == 2:
            return 4 + 4 * int(struct.unpack_from(">H", buffer, 2)[0]) if len(buffer) >= 4 else None
        if kind == 6:
            return _cut_text_size(buffer)
        if kind == QEMU_MESSAGE and len(buffer) >= 2 and buffer[1] == EXTENDED_KEY:
            return 12
        if kind == QEMU_MESSAGE and len(buffer) < 2:
            return None
        raise RfbError(f"message of type {kind}")


def _cut_text_size(buffer: bytes) -> int | None:
    if len(buffer) < 8:
        return None
    length = abs(int(struct.unpack_from(">i", buffer, 4)[0]))
    if length > MAX_CUT_TEXT:
        raise RfbError("cut text is too long")
    return 8 + length
