"""Network namespaces without names: gone with the test that made them, however it ends.

The kernel removes such a namespace, with every device in it, when the last descriptor and
the last process of it are gone; nothing outside is ever touched.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNET = 0x40000000
TIMEOUT_S = 30.0
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


class Namespace:
    """A network namespace with its loopback device up; close it at the end."""

    def __init__(self) -> None:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _call("unshare", CLONE_NEWNET)
            self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        finally:
            _call("setns", home, CLONE_NEWNET)
            os.close(home)
        self.ip("link", "set", "lo", "up")
        with self.entered():
            # Addresses are answered for only where they are: not on every cable.
            Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text("1", encoding="ascii")

    def close(self) -> None:
        os.close(self.descriptor)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and the processes it starts, are in the namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _call("setns", self.descriptor, CLONE_NEWNET)
            yield
        finally:
            _call("setns", home, CLONE_NEWNET)
            os.close(home)

    def run(self, *arguments: str, **options: Any) -> str:
        """Run a program inside and give its output."""
        with self.entered():
            done = subprocess.run(
                arguments, capture_output=True, text=True, timeout=TIMEOUT_S, **options
            )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def ip(self, *arguments: str, **options: Any) -> str:
        return self.run("ip", *arguments, **options)

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program inside; the caller ends it."""
        with self.entered():
            return subprocess.Popen(arguments, **options)

    def cable(self, name: str, other: "Namespace", other_name: str) -> None:
        """Connect a device here with one there; both are up."""
        self.ip(
            *("link", "add", name, "type", "veth", "peer", "name", other_name),
            *("netns", f"/proc/self/fd/{other.descriptor}"),
            pass_fds=[other.descriptor],
        )
        self.ip("link", "set", name, "up")
        other.ip("link", "set", other_name, "up")


def needs_namespaces() -> None:
    """Skip the calling test where namespaces cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    if shutil.which("ip") is None:
        pytest.skip("needs iproute2")
    try:
        Namespace().close()
    except OSError as problem:
        pytest.skip(f"this machine makes no network namespaces: {problem}")


@functools.cache
def kernel_has(kind: str) -> bool:
    """Whether this kernel has devices of a kind: vlan, bond."""
    space = Namespace()
    try:
        space.ip("link", "add", "lower0", "type", "veth", "peer", "name", "lower1")
        extra: Sequence[str] = ("link", "lower0") if kind == "vlan" else ()
        more: Sequence[str] = ("id", "5") if kind == "vlan" else ()
        space.ip("link", "add", *extra, "name", "probe0", "type", kind, *more)
    except AssertionError:
        return False
    finally:
        space.close()
    return True


def needs_kernel(kind: str) -> None:
    if not kernel_has(kind):
        module = {"vlan": "8021q", "bond": "bonding"}.get(kind, kind)
        pytest.skip(f"this kernel has no {kind} devices (module {module})")


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    """That many namespaces, closed at the end."""
    needs_namespaces()
    with contextlib.ExitStack() as stack:
        spaces = []
        for _ in range(count):
            space = Namespace()
            stack.callback(space.close)
            spaces.append(space)
        yield spaces
