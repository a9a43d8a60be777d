"""A 512-byte guest for full virtualisation: up in seconds where a real one takes minutes.

It writes ``HVM-GUEST-READY`` to the screen and the first serial port.  Then a key (or a byte on
the serial port) ``p`` powers it off, ``r`` resets it, and so does pressing the power button: off.
"""

from collections.abc import Sequence

ORIGIN = 0x7C00
MESSAGE = b"\r\nHVM-GUEST-READY\r\n"
DISK_BYTES = 1 << 20

Item = bytes | str | tuple[str, str]
"""Code, a label, or a jump: ("short" or "word", label) after the bytes of its instruction."""

PROGRAM: Sequence[Item] = [
    b"\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xfb",  # cli; ax=ds=ss=0; sp=7c00; sti
    *(b"\xbe", ("address", "message")),  # mov si, message
    "print",
    *(b"\xac\x84\xc0\x74", ("short", "armed")),  # lodsb; test al, al; jz armed
    b"\x50\xb4\x0e\x31\xdb\xcd\x10\x58",  # push ax; ah=0e; bx=0; int 10; pop ax
    b"\xba\xf8\x03\xee",  # out 3f8, al
    *(b"\xeb", ("short", "print")),
    "armed",
    b"\xba\x02\xb0\xb8\x00\x01\xef",  # out b002, 0100: the power button counts
    "wait",
    b"\xfb\xf4",  # sti; hlt: until the next clock tick
    *(b"\xba\x00\xb0\xed\xf6\xc4\x01\x75", ("short", "off")),  # in b000: button pressed
    *(b"\xb4\x01\xcd\x16\x74", ("short", "serial")),  # a key?
    *(b"\x30\xe4\xcd\x16\xeb", ("short", "act")),
    "serial",
    *(b"\xba\xfd\x03\xec\xa8\x01\x74", ("short", "wait")),  # a byte on the serial port?
    b"\xba\xf8\x03\xec",
    "act",
    *(b"\x3cp\x74", ("short", "off")),
    *(b"\x3cr\x74", ("short", "reset")),
    *(b"\xeb", ("short", "wait")),
    "off",
    b"\xba\x04\xb0\xb8\x00\x20\xef",  # out b004, 2000: sleep state 5
    "stop",
    *(b"\xfa\xf4\xeb", ("short", "stop")),
    "reset",
    *(b"\xb0\x06\xba\xf9\x0c\xee\xeb", ("short", "stop")),  # out cf9, 6
    "message",
    MESSAGE + b"\0",
]


def assemble(program: Sequence[Item], origin: int) -> bytes:
    """Put code at ``origin`` and fill its jumps in."""
    labels: dict[str, int] = {}
    at = origin
    for item in program:
        match item:
            case str():
                labels[item] = at
            case bytes():
                at += len(item)
            case (kind, _):
                at += 1 if kind == "short" else 2
    code = bytearray()
    for item in program:
        match item:
            case bytes():
                code += item
            case ("short", label):
                distance = labels[label] - (origin + len(code) + 1)
                code += distance.to_bytes(1, "little", signed=True)
            case ("address", label):
                code += labels[label].to_bytes(2, "little")
    return bytes(code)


def disk() -> bytes:
    """Give the image of a disk that starts the guest."""
    return (assemble(PROGRAM, ORIGIN).ljust(510, b"\0") + b"\x55\xaa").ljust(DISK_BYTES, b"\0")
