"""Room on the file system that is kept free for the moment when there is no other."""

import contextlib
import os
from pathlib import Path
from typing import Final

SIZE: Final = 4 * 1024 * 1024
"""Bytes: a start writes a few hundred KiB, and then something can be deleted."""


class SpareRoom:
    """A file that takes up room and can be given up.

    A full file system would keep the server from starting, and without the
    server nobody can delete what fills it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Take the room unless it is there; without enough of it there is none."""
        with contextlib.suppress(OSError):
            if self._path.exists():
                return
            file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, SIZE)
            except OSError:
                self._path.unlink()
                raise
            finally:
                os.close(file)

    def needed(self) -> bool:
        """Say whether the file system has next to nothing else left."""
        left = os.statvfs(self._path.parent)
        return left.f_bavail * left.f_frsize < SIZE // 4

    def give_up(self) -> bool:
        """Free the room; say whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
