"""A bar on standard error while a file travels; nothing when that is not a terminal."""

import sys
import time

WIDTH = 50
STEP_S = 0.1


class Progress:
    """Shows how much of ``total`` bytes (0: unknown) has gone."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._shown_at = 0.0
        self._done = 0
        self._on = sys.stderr.isatty()

    def add(self, count: int) -> None:
        """Note that ``count`` more bytes have gone."""
        self._done += count
        if self._on and time.monotonic() - self._shown_at > STEP_S:
            self._show()

    def finish(self) -> None:
        """Show the final state and end the line."""
        if self._on and self._shown_at:
            self._show()
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        if self._total:
            share = min(1.0, self._done / self._total)
            bar = ("#" * int(share * WIDTH)).ljust(WIDTH)
            text = f"{self._what} [{bar}] {share:4.0%}"
        else:
            text = f"{self._what} {self._done / 1048576:.1f} MiB"
        sys.stderr.write(f"\r{text}")
        sys.stderr.flush()
