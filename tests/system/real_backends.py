"""The real network backends, each in a namespace with NICs of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.namespaces import Namespace, namespaces
from xcp_networkd.backends.bridge.backend import BridgeNetwork
from xcp_networkd.backends.openvswitch.backend import OpenVSwitchNetwork
from xcp_networkd.contract import Backend
from xcp_networkd.linux.host import LinuxHost, at_once

DATAPATH = os.environ.get("XAPI_PY_DATAPATH", "netdev")
"""Open vSwitch in user space, which every machine has, or the kernel's (``system``)."""
NICS = ("eth0", "eth1", "eth2", "eth3")


def linux_host(folder: Path) -> LinuxHost:
    """All files of a host below a folder of the test's."""
    return LinuxHost(
        *(folder, folder / "resolv.conf", folder / "db.sock", folder, DATAPATH),
        sys=folder / "sys",
    )


def able_card(folder: Path, name: str, functions: int) -> Path:
    """Make a card one with virtual functions; gives the file with how many it shows."""
    card = folder / "sys/class/net" / name / "device"
    card.mkdir(parents=True)
    (card / "sriov_totalvfs").write_text(f"{functions}\n")
    (card / "sriov_numvfs").write_text("0\n")
    return card / "sriov_numvfs"


def with_nics(host: Namespace, outside: Namespace, names: tuple[str, ...] = NICS) -> None:
    for number, name in enumerate(names):
        host.cable(name, outside, f"port{number}")
        host.ip("link", "set", name, "address", f"02:00:00:00:01:{number:02x}")


def _tool(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package openvswitch-switch)")
    return found


@contextlib.contextmanager
def switch(space: Namespace, folder: Path) -> Iterator[Callable[[], None]]:
    """An Open vSwitch of the test's own, in user space: no kernel module is needed.

    Gives what kills its daemon and starts it again, without the flows.
    """
    schema = Path("/usr/share/openvswitch/vswitch.ovsschema")
    tool, server, daemon = (_tool(n) for n in ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd"))
    environment = {**os.environ, "OVS_RUNDIR": str(folder), "OVS_LOGDIR": str(folder)}
    started: list[subprocess.Popen[bytes]] = []
    try:
        if not (folder / "conf.db").exists():
            space.run(tool, "create", str(folder / "conf.db"), str(schema), env=environment)
        quiet = ["-vconsole:off", "--no-chdir", "--pidfile"]
        remote = f"punix:{folder / 'db.sock'}"
        for arguments in (
            [server, str(folder / "conf.db"), f"--remote={remote}", *quiet],
            [daemon, f"unix:{folder / 'db.sock'}", *quiet],
        ):
            started.append(space.start(*arguments, env=environment))
            if len(started) == 1:
                _wait_for_socket(folder / "db.sock")
        vsctl = ["ovs-vsctl", "--timeout=20", f"--db=unix:{folder / 'db.sock'}"]
        space.run(*vsctl, "--no-wait", "init", env=environment)
        space.run(*vsctl, "set", "Open_vSwitch", ".", "other_config:max-idle=5000", env=environment)

        def restart() -> None:
            last = started.pop()
            last.kill()
            last.wait()
            words = [daemon, f"unix:{folder / 'db.sock'}", *quiet]
            started.append(space.start(*words, env=environment))
            space.run(*vsctl, "--timeout=20", "wait-until", "Open_vSwitch", ".", "cur_cfg>0")

        yield restart
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def _wait_for_socket(path: Path) -> None:
    end = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return
        assert time.monotonic() < end, f"{path} does not answer"
        time.sleep(0.01)


def backend(system: str, folder: Path, switch_folder: Path) -> BridgeNetwork | OpenVSwitchNetwork:
    """A backend in the namespace this thread is in; the caller closes it."""
    settings = replace(linux_host(folder), ovsdb=switch_folder / "db.sock", ovs_run=switch_folder)
    kind = OpenVSwitchNetwork if system == "openvswitch" else BridgeNetwork
    return kind(settings, at_once)


@contextlib.contextmanager
def made(system: str, folder: Path) -> Iterator[Callable[[], Backend]]:
    """Give a maker of backends on one system; the thread is in its namespace meanwhile."""
    with contextlib.ExitStack() as stack:
        host, outside = stack.enter_context(namespaces(2))
        with_nics(host, outside)
        if system == "openvswitch":
            stack.enter_context(switch(host, folder))
        stack.enter_context(host.entered())

        def make() -> Backend:
            found = backend(system, folder, folder)
            stack.callback(found.close)
            return found

        yield make
