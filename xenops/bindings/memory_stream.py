"""Guest memory to and from a stream: libxenguest's functions, one at a time in a process."""

from dataclasses import dataclass
from typing import Any, Protocol

from xenops.bindings.errors import XenError
from xenops.bindings.xen import Xen


class SaveSteps(Protocol):
    """What a save asks while it works."""

    def suspend(self) -> bool:
        """Have the guest stop; whether it did."""

    def policy(self, iteration: int, written: int, dirty: int) -> str:
        """Choose what comes next: "continue", "stop" or "abort".  ``dirty`` is -1 if unknown."""

    def log_dirty(self, enable: bool) -> bool:
        """Have the emulator tell which memory it writes; whether it does."""

    def progress(self, percent: int) -> None:
        """So much of the present round is done."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the guest's pages for xenstore and console are: frame numbers."""

    store_mfn: int
    console_mfn: int


class MemoryStream:
    """Saves and restores; callbacks go to the steps of the save at work."""

    def __init__(self, xen: Xen) -> None:
        self._lib, self._ffi = xen.lib, xen.ffi
        self._check_error = xen.last_error
        self._steps: SaveSteps | None = None
        self._problem: BaseException | None = None
        self._define_callbacks()

    def save(self, domid: int, fd: int, steps: SaveSteps, *, live: bool) -> None:
        """Write a domain's memory; it is suspended at the end.

        Errors: XenError; what ``steps`` raise.
        """
        self._steps, self._problem = steps, None
        try:
            self._run("xc_domain_save", lambda xc: self._lib.save_domain(xc, fd, domid, live))
        finally:
            self._steps = None

    def restore(self, domid: int, fd: int, store_port: int, console_port: int) -> Restored:
        """Read a domain's memory.  Errors: XenError."""
        store, console = self._ffi.new("unsigned long *"), self._ffi.new("unsigned long *")
        self._problem = None
        self._run(
            "xc_domain_restore",
            lambda xc: self._lib.restore_domain(
                xc, fd, domid, store_port, store, console_port, console
            ),
        )
        return Restored(int(store[0]), int(console[0]))

    def _run(self, function: str, call: Any) -> None:
        handle = self._lib.open_for_stream()
        if handle == self._ffi.NULL:
            raise XenError("xc_interface_open", self._ffi.errno, "")
        try:
            result, number = call(handle), self._ffi.errno
        finally:
            self._lib.xc_interface_close(handle)
        if self._problem is not None:
            raise self._problem
        if result < 0:
            raise XenError(function, number, "")

    def _define_callbacks(self) -> None:
        policies = {
            "continue": self._lib.XGS_POLICY_CONTINUE_PRECOPY,
            "stop": self._lib.XGS_POLICY_STOP_AND_COPY,
        }
        abort = self._lib.XGS_POLICY_ABORT

        def failed(kind: Any, problem: BaseException, trace: Any) -> None:
            self._problem = problem

        def suspend() -> int:
            return int(self._steps is not None and self._steps.suspend())

        def policy(iteration: int, written: int, dirty: int) -> int:
            steps = self._steps
            chosen = "abort" if steps is None else steps.policy(iteration, written, dirty)
            return int(policies.get(chosen, abort))

        def log_dirty(enable: int) -> int:
            steps = self._steps
            return 0 if steps is not None and steps.log_dirty(bool(enable)) else -1

        def progress(percent: int) -> None:
            if self._steps is not None:
                self._steps.progress(percent)

        for function, name, error in (
            (suspend, "stream_suspend", 0),
            (policy, "stream_policy", abort),
            (log_dirty, "stream_log_dirty", -1),
            (progress, "stream_progress", None),
        ):
            self._ffi.def_extern(name=name, error=error, onerror=failed)(function)
