"""The real network backends, each in a namespace with NICs of its own."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.namespaces import Namespace, namespaces
from xcp_networkd.backends.bridge.backend import BridgeNetwork
from xcp_networkd.contract import Backend
from xcp_networkd.linux.host import LinuxHost, at_once

NICS = ("eth0", "eth1", "eth2", "eth3")


def linux_host(folder: Path) -> LinuxHost:
    """All files of a host below a folder of the test's."""
    return LinuxHost(folder, folder / "resolv.conf", folder / "db.sock", folder, "netdev")


def with_nics(host: Namespace, outside: Namespace, names: tuple[str, ...] = NICS) -> None:
    for number, name in enumerate(names):
        host.cable(name, outside, f"port{number}")
        host.ip("link", "set", name, "address", f"02:00:00:00:01:{number:02x}")


@contextlib.contextmanager
def made(system: str, folder: Path) -> Iterator[Callable[[], Backend]]:
    """Give a maker of backends on one system; the thread is in its namespace meanwhile."""
    with contextlib.ExitStack() as stack:
        host, outside = stack.enter_context(namespaces(2))
        with_nics(host, outside)
        settings = linux_host(folder)
        if system == "openvswitch":
            pytest.skip("not written yet")
        stack.enter_context(host.entered())

        def make() -> Backend:
            backend = BridgeNetwork(settings, at_once)
            stack.callback(backend.close)
            return backend

        yield make
