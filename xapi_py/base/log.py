"""Logging: one line an event, to standard error or a file; the latest also in memory."""

import logging
import time
from collections import deque

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
KEPT_LINES = 5000


class RecentLines(logging.Handler):
    """Keeps the latest lines of this process, for those who look for a fault."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        try:  # as text at once: what a record names is not to live as long as this
            self._lines.append(self.format(record))
        except (TypeError, ValueError):
            self.handleError(record)

    def lines(self) -> list[str]:
        """Give the lines, oldest first."""
        return list(self._lines)


RECENT = RecentLines()


def configure(level: str = "INFO", path: str | None = None) -> None:
    """Send log lines of this process to ``path``, or to standard error.

    Times are UTC.  ``level`` is a name the logging module knows.
    """
    handler = logging.FileHandler(path) if path else logging.StreamHandler()
    formatter = logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    RECENT.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.addHandler(RECENT)
    root.setLevel(level)
