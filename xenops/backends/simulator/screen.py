"""The screen of a simulated guest: a colour gradient that answers keys."""

import functools

from xenops.console.rfb import PixelFormat

WIDTH = 160
HEIGHT = 120


@functools.lru_cache(maxsize=16)
def picture(form: PixelFormat, tone: int) -> bytes:
    """Give the raw pixels of the whole screen in one of 4 tones."""
    order = "big" if form.big_endian else "little"
    size = form.bits // 8
    mask = (1 << form.bits) - 1
    rows = []
    for y in range(HEIGHT):
        row = bytearray()
        for x in range(WIDTH):
            colour = (x / WIDTH, y / HEIGHT, tone / 4)
            value = 0
            for share, most, shift in zip(colour, form.maxima, form.shifts, strict=True):
                value |= int(share * most) << shift
            row += (value & mask).to_bytes(size, "big" if order == "big" else "little")
        rows.append(bytes(row))
    return b"".join(rows)


class GradientScreen:
    """A screen that takes on another tone with every key."""

    width = WIDTH
    height = HEIGHT

    def __init__(self) -> None:
        self.generation = 0

    def changed_rows(self, since: int) -> tuple[int, int]:
        return 0, HEIGHT

    def pixels(self, form: PixelFormat, first: int, last: int) -> bytes:
        row = WIDTH * form.bits // 8
        return picture(form, self.generation % 4)[first * row : last * row]

    def key(self, symbol: int) -> None:
        self.generation += 1

    scan_code = key

    def key_up(self, symbol: int) -> None:
        """Keys count when they go down."""
