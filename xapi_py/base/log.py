"""Logging: one line an event, to standard error or a file."""

import logging
import time

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(level: str = "INFO", path: str | None = None) -> None:
    """Send log lines of this process to ``path``, or to standard error.

    Times are UTC.  ``level`` is a name the logging module knows.
    """
    handler = logging.FileHandler(path) if path else logging.StreamHandler()
    formatter = logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
