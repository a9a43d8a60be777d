"""Child processes that cannot outlive their parent."""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> Callable[[], None]:
    """Make a function for ``preexec_fn`` that ties the child to this process.

    The kernel kills the child (SIGKILL) when the thread that started it ends,
    however it ends; the mark survives exec.  Start such children from the main
    thread only.  A child's own children are not tied: they ask for themselves.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    prctl, parent = libc.prctl, os.getpid()

    def tie() -> None:
        if prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:  # it ended between fork and prctl
            os.kill(os.getpid(), signal.SIGKILL)

    return tie
