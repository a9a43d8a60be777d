"""The locks QEMU puts on image files, for readers that are not QEMU.

Who reads an image, and who wants nobody to write it meanwhile, locks single
bytes of the file, shared; who is about to write looks for such locks.  They go
with the descriptor.  Source: QEMU, block/file-posix.c, as fcntl shows it.
"""

import errno
import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = struct.Struct("hhqqi4x")
_READS, _WRITES, _RESIZES, _NO_WRITERS, _NO_RESIZE = 100, 101, 103, 201, 203
_WITHOUT_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def lock_against_writers(file: int) -> None:
    """Keep writers away until the file is closed; a file system without locks cannot.

    Errors: OSError, EBUSY when somebody writes.
    """
    try:
        for place in (_READS, _NO_WRITERS, _NO_RESIZE):
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, place))
        if _is_locked(file, _WRITES) or _is_locked(file, _RESIZES):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    except OSError as problem:
        if problem.errno not in _WITHOUT_LOCKS:
            raise


def kept_from_writers(path: str) -> bool:
    """Whether some process has an image locked against writers."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_locked(file, _NO_WRITERS)
    except OSError:
        return False
    finally:
        os.close(file)


def _lock(kind: int, place: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0)


def _is_locked(file: int, place: int) -> bool:
    found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, place))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)
