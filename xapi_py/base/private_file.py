"""Small files that only this program reads."""

import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file of mode 0600: after a crash or loss of power it is the old or the new one.

    Blocks until it is on disk.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
