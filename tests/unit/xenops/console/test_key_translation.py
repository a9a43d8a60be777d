"""XenCenter's keys for QEMU."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenops.console.key_translation import KeyTranslation
from xenops.console.rfb import RfbError

OLD = b"RFB 003.003\n\x01"
NEW = b"RFB 003.008\n\x01\x01"
ENCODINGS = struct.pack(">BxHii", 2, 2, 0, -223)
CUT = struct.pack(">BxxxI", 6, 3) + b"\xfe\x01a"
MOUSE = struct.pack(">BBHH", 5, 1, 254, 254)
KEY = struct.pack(">BBxxI", 4, 1, 0x61)


def scan(down: int, code: int) -> bytes:
    return struct.pack(">BBxxI", 254, down, code)


def extended(down: int, code: int) -> bytes:
    return struct.pack(">BBHII", 255, 0, down, 0, code)


@given(st.sampled_from([OLD, NEW]), st.lists(st.integers(1, 9), max_size=30))
def test_only_scan_codes_are_changed_however_the_bytes_come(start: bytes, cuts: list[int]) -> None:
    said = start + ENCODINGS + CUT + scan(1, 0x1E) + MOUSE + scan(0, 0xE048) + KEY
    translation, passed = KeyTranslation(), b""
    for cut in cuts:
        passed += translation.feed(said[:cut])
        said = said[cut:]
    passed += translation.feed(said)
    assert passed == start + ENCODINGS + CUT + extended(1, 0x1E) + MOUSE + extended(0, 0xC8) + KEY


def test_what_qemu_would_not_understand_either_ends_the_conversation() -> None:
    for message in (b"\xfa", b"\xff\x09", b"\x06\0\0\0\x7f\xff\xff\xff"):
        translation = KeyTranslation()
        translation.feed(OLD)
        with pytest.raises(RfbError):
            translation.feed(message)
