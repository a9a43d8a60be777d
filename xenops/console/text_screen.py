"""A terminal as a picture: what a guest writes to its text console, over RFB."""

import re
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyte

from xenops.console import glyphs
from xenops.console.rfb import PixelFormat

COLUMNS: Final = 80
LINES: Final = 24
_SEQUENCES: Final = re.compile(rb"(?=\x1b)")

COLOURS: Final = {
    "black": 0x000000, "red": 0xAA0000, "green": 0x00AA00, "brown": 0xAA5500,
    "blue": 0x0000AA, "magenta": 0xAA00AA, "cyan": 0x00AAAA, "white": 0xAAAAAA,
}  # fmt: skip
PAPER, INK = 0x000000, 0xC0C0C0

KEYS: Final = {
    0xFF08: b"\x7f", 0xFF09: b"\t", 0xFF0A: b"\n", 0xFF0D: b"\r", 0xFF1B: b"\x1b",
    0xFF50: b"\x1b[H", 0xFF51: b"\x1b[D", 0xFF52: b"\x1b[A", 0xFF53: b"\x1b[C",
    0xFF54: b"\x1b[B", 0xFF55: b"\x1b[5~", 0xFF56: b"\x1b[6~", 0xFF57: b"\x1b[F",
    0xFF63: b"\x1b[2~", 0xFF8D: b"\r", 0xFFFF: b"\x1b[3~",
    0xFFBE: b"\x1bOP", 0xFFBF: b"\x1bOQ", 0xFFC0: b"\x1bOR", 0xFFC1: b"\x1bOS",
}  # fmt: skip
CONTROL: Final = (0xFFE3, 0xFFE4)


def colour(name: str, default: int) -> int:
    """Read a colour as the terminal names it: a word or six hexadecimal digits."""
    if name in COLOURS:
        return COLOURS[name]
    if name.startswith("bright"):
        return COLOURS.get(name.removeprefix("bright"), default) | 0x555555
    try:
        return int(name, 16) if len(name) == 6 else default
    except ValueError:
        return default


class TextScreen:
    """A terminal of 80 by 24; ``typed`` gets what keys mean to the guest."""

    width = COLUMNS * glyphs.CELL_WIDTH
    height = LINES * glyphs.CELL_HEIGHT

    def __init__(self, typed: Callable[[bytes], None]) -> None:
        self.generation = 0
        self._typed = typed
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._changed_at = [0] * LINES
        self._cursor = (0, 0)
        self._control = False

    def feed(self, data: bytes) -> None:
        """Show what the guest has written."""
        for part in _SEQUENCES.split(data):
            self._feed(part)
        self.generation += 1
        now = (self._screen.cursor.y, self._screen.cursor.x)
        dirty = set(self._screen.dirty)
        if now != self._cursor:
            dirty |= {self._cursor[0], now[0]}
            self._cursor = now
        for line in dirty:
            if 0 <= line < LINES:
                self._changed_at[line] = self.generation
        self._screen.dirty.clear()

    def _feed(self, part: bytes) -> None:
        try:
            self._stream.feed(part)
        except (TypeError, ValueError, LookupError, UnboundLocalError):
            # The library stumbles over sequences no terminal has; begin anew after them.
            self._stream = pyte.ByteStream(self._screen)

    def lines(self) -> list[str]:
        """Give the text on the screen."""
        return [line.rstrip() for line in self._screen.display]

    def changed_rows(self, since: int) -> tuple[int, int]:
        changed = [line for line, at in enumerate(self._changed_at) if at > since]
        if not changed:
            return 0, 0
        return min(changed) * glyphs.CELL_HEIGHT, (max(changed) + 1) * glyphs.CELL_HEIGHT

    def pixels(self, form: PixelFormat, first: int, last: int) -> bytes:
        lines = range(first // glyphs.CELL_HEIGHT, -(-last // glyphs.CELL_HEIGHT))
        rows = [self._line(line) for line in lines]
        if not rows:
            return b""
        picture = np.concatenate(rows)
        top = lines.start * glyphs.CELL_HEIGHT
        return _packed(picture[first - top : last - top], form)

    def _line(self, line: int) -> npt.NDArray[np.uint32]:
        cells = self._screen.buffer[line]
        chosen = [cells[column] for column in range(COLUMNS)]
        ink = np.array([colour(c.bg if c.reverse else c.fg, INK) for c in chosen], np.uint32)
        paper = np.array([colour(c.fg if c.reverse else c.bg, PAPER) for c in chosen], np.uint32)
        for column, cell in enumerate(chosen):
            at_cursor = self._cursor == (line, column) and not self._screen.cursor.hidden
            if cell.reverse and cell.fg == cell.bg == "default":
                ink[column], paper[column] = PAPER, INK
            if at_cursor:
                ink[column], paper[column] = paper[column], ink[column]
        dots = glyphs.GLYPHS[[glyphs.index(cell.data) for cell in chosen]]
        drawn = np.where(dots, ink[:, None, None], paper[:, None, None])
        whole = drawn.transpose(1, 0, 2).reshape(glyphs.CELL_HEIGHT, self.width)
        return whole.astype(np.uint32)

    def key(self, symbol: int) -> None:
        if symbol in CONTROL:
            self._control = True
            return
        text = KEYS.get(symbol)
        if text is None and symbol < 0x100:
            text = bytes([symbol]) if symbol < 0x80 else chr(symbol).encode()
            if self._control and 0x40 <= symbol < 0x80:
                text = bytes([symbol & 0x1F])
        elif text is None and symbol & 0xFF000000 == 0x01000000 and symbol < 0x01110000:
            text = chr(symbol & 0xFFFFFF).encode(errors="replace")
        if text:
            self._typed(text)

    def key_up(self, symbol: int) -> None:
        """A key was let go: only that of the control key matters."""
        if symbol in CONTROL:
            self._control = False

    def scan_code(self, code: int) -> None:
        """Text consoles are not sent scan codes: there is nothing to type."""


def _packed(picture: npt.NDArray[np.uint32], form: PixelFormat) -> bytes:
    value = np.zeros(picture.shape, np.uint32)
    for part, most, shift in zip((16, 8, 0), form.maxima, form.shifts, strict=True):
        share = (picture >> np.uint32(part)) & np.uint32(255)
        value |= (share * np.uint32(most) // np.uint32(255)) << np.uint32(shift)
    order = ">" if form.big_endian else "<"
    return value.astype(f"{order}u{form.bits // 8}").tobytes()
