"""Where the data of sparse files is."""

import errno
import os
from collections.abc import Iterator


def extents(descriptor: int, size: int | None = None) -> Iterator[tuple[int, int]]:
    """Give (offset, length) of the parts of a file that hold data, ascending.

    A file system without this knowledge reports all of it as data.
    """
    end = os.fstat(descriptor).st_size if size is None else size
    offset = 0
    while offset < end:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return
            raise
        if start >= end:
            return
        offset = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)
        yield start, offset - start
