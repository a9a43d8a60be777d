"""Sparse files with the real content of simulated disks.

Most disks have none: a file is made when somebody imports or exports data.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ORPHAN_AGE_S: Final = 600.0
COPY_BYTES: Final = 8 * 1024**2


@dataclass(frozen=True, slots=True)
class ContentFiles:
    """The files of one SR, by name.  Everything here blocks: run it in a thread."""

    folder: Path

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.folder / f"{name}.raw"

    def make(self, name: str, source: str, size: int) -> None:
        """Make a file of ``size`` bytes with the data of the file ``source``, if any, durably."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as target:
            target.truncate(size)
            if source:
                copy_sparse(Path(source), target.fileno(), size)
            os.fsync(target.fileno())

    def drop(self, names: Iterable[str]) -> None:
        """Remove files; those already gone do not matter."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def drop_orphans(self, used: set[str]) -> None:
        """Remove old files that no record names: their maker was killed."""
        oldest = time.time() - ORPHAN_AGE_S
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if path.stem not in used and path.stat().st_mtime < oldest:
                    path.unlink()


def copy_sparse(source: Path, target: int, size: int) -> None:
    """Copy the data parts of a file, at most ``size`` bytes, into an empty one."""
    with open(source, "rb") as origin:
        descriptor, offset = origin.fileno(), 0
        end = min(size, os.fstat(descriptor).st_size)
        while offset < end:
            try:
                offset = os.lseek(descriptor, offset, os.SEEK_DATA)
            except OSError as problem:
                if problem.errno == errno.ENXIO:
                    return
                raise
            hole = min(os.lseek(descriptor, offset, os.SEEK_HOLE), end)
            while offset < hole:
                data = os.pread(descriptor, min(COPY_BYTES, hole - offset), offset)
                os.pwrite(target, data, offset)
                offset += len(data)
