"""A host's network daemon in a namespace, with real cables to the outside and to guests."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.daemon_process import DaemonProcess
from tests.system import real_backends
from tests.system.inside_daemon import INSIDE, InsideDaemon
from tests.system.namespaces import Namespace, namespaces, needs_kernel
from xcp_networkd.linux.ethtool import Ethtool

GATEWAY = "192.0.2.1"
ADDRESS = "192.0.2.10"
_DATAGRAM = 1400
_PATIENCE_S = 0.05


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait for a condition and give the seconds that took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < timeout_s, f"{what}: not within {timeout_s} s"
        time.sleep(0.02)
    return time.monotonic() - begin


class NetworkLab:
    """The daemon of one host with NICs eth0..eth3, whose cables end outside at port0..port3.

    ``outside`` has them in the bridge ``out`` with the gateway's address, unless the test
    arranges them otherwise.
    """

    def __init__(
        self, system: str, folder: Path, host: Namespace, outside: Namespace, **network: object
    ) -> None:
        self.system = system
        self.folder = folder
        self.host = host
        self.outside = outside
        self.network: dict[str, object] = {
            "datapath": real_backends.DATAPATH,
            "ovs_run": str(folder),
            "resolv_conf": str(folder / "resolv.conf"),
            "management_conf": str(folder / "management.conf"),
            "management_timeout_s": 2.0,
            "sysfs": str(folder / "sys"),
            **network,
        }
        self._daemon: DaemonProcess | InsideDaemon | None = None
        self.guests: list[Namespace] = []
        self.restart_switch: Callable[[], None] | None = None

    def needs(self, kind: str) -> None:
        """The kernel's bridges need its VLAN and bond devices; Open vSwitch has its own."""
        if self.system == "bridge":
            needs_kernel(kind)

    @property
    def daemon(self) -> DaemonProcess | InsideDaemon:
        """The running daemon, started at its first use."""
        if self._daemon is None:
            config = {"network": self.network}
            if INSIDE:
                self._daemon = InsideDaemon(self.host, self.folder, config, self.system)
            else:
                with self.host.entered():
                    self._daemon = DaemonProcess(
                        "xcp_networkd", self.folder, config, backend=self.system
                    )
        return self._daemon

    def restart(self) -> None:
        """Kill the daemon and start it again."""
        self.daemon.kill()
        with self.host.entered():
            self.daemon.start()

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None
        for pid_file in self.folder.glob("*/dhcp/*.pid"):
            with contextlib.suppress(OSError, ValueError):
                _end_client(int(pid_file.read_text()), self.folder)

    def call(self, method: str, /, **params: object) -> Any:
        return self.daemon.call(method, **params)

    def links(self) -> dict[str, dict[str, Any]]:
        return {link["name"]: link for link in self.call("Interface.scan")}

    def connect_outside(self, *ports: str, address: str = f"{GATEWAY}/24") -> None:
        """Put cable ends into the outside's bridge, and give that an address."""
        self.outside.ip("link", "add", "out", "type", "bridge", "forward_delay", "0")
        for port in ports:
            self.outside.ip("link", "set", port, "master", "out")
        self.outside.ip("link", "set", "out", "up")
        whole_checksums(self.outside, "out")
        if address:
            self.outside.ip("addr", "add", address, "dev", "out")

    def manage(self, *, nic: str = "eth0", bridge: str = "xenbr0", **more: object) -> None:
        """Set the management bridge up with a static address."""
        self.call(
            "Network.change",
            bridge_config={bridge: nic_bridge(nic)},
            interface_config={bridge: static(ADDRESS, **more)},
            gateway_interface=bridge,
            dns_interface=bridge,
        )

    def plugged(self, name: str, mac: str, address: str) -> Namespace:
        """A virtual machine's device that is in no bridge yet, the machine being a namespace."""
        space = Namespace()
        self.guests.append(space)
        self.host.cable(name, space, "eth0")
        space.ip("link", "set", "eth0", "address", mac)
        space.ip("addr", "add", f"{address}/24", "dev", "eth0")
        whole_checksums(space, "eth0")
        return space

    def guest(self, bridge: str, number: int, mac: str, address: str, **lock: object) -> Namespace:
        """A virtual machine's device on a bridge."""
        space = self.plugged(f"vif{number}.0", mac, address)
        self.call("Vif.attach", bridge=bridge, name=f"vif{number}.0", mac=mac, **lock)
        return space


def whole_checksums(space: Namespace, device: str) -> None:
    """A switch in user space passes on what it gets: checksums must be there."""
    with space.entered():
        Ethtool().apply(device, (), (("tx", "off"),))


def _end_client(pid: int, folder: Path) -> None:
    """End a DHCP client of this test, known by its files."""
    if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
        os.killpg(pid, signal.SIGKILL)


def nic_bridge(nic: str, **more: object) -> dict[str, object]:
    return {"ports": {nic: {"interfaces": [nic]}}, "persistent_b": True, **more}


def bond_bridge(*nics: str, mode: str, **properties: str) -> dict[str, object]:
    port = {"interfaces": list(nics), "bond_properties": {"mode": mode, **properties}}
    return {"ports": {"bond0": port}, "persistent_b": True}


def static(address: str, gateway: str = GATEWAY, **more: object) -> dict[str, object]:
    return {
        "ipv4_conf": ["Static4", [[address, 24]]],
        "ipv4_gateway": gateway,
        "persistent_i": True,
        **more,
    }


@contextlib.contextmanager
def lab(system: str, folder: Path, **network: object) -> Iterator[NetworkLab]:
    """A host and its outside; everything is gone at the end."""
    with contextlib.ExitStack() as stack:
        host, outside = stack.enter_context(namespaces(2))
        real_backends.with_nics(host, outside)
        made = NetworkLab(system, folder, host, outside, **network)
        if system == "openvswitch":
            made.restart_switch = stack.enter_context(real_backends.switch(host, folder))
        stack.callback(lambda: [guest.close() for guest in made.guests])
        stack.callback(made.stop)
        yield made


class Echo:
    """Datagrams from one namespace to another and whether they arrive."""

    def __init__(self, source: Namespace, target: Namespace, address: str, port: int = 7000):
        with target.entered():
            self._target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._target.bind((address, port))
        self._target.settimeout(_PATIENCE_S)
        with source.entered():
            self._source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._address = (address, port)

    def close(self) -> None:
        self._source.close()
        self._target.close()

    def passes(self, size: int = 64, *, fragments: bool = True) -> bool:
        """Send one datagram and tell whether it arrives soon."""
        if not fragments:
            self._source.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, DO
        try:
            self._source.sendto(bytes(size), self._address)
            return len(self._target.recv(65536)) == size
        except (TimeoutError, OSError):
            return False

    def flood(self, kib_per_s: int, seconds: float = 3.0) -> tuple[float, float]:
        """Send that much for a time; gives how many KiB arrived in how many seconds."""
        self._target.settimeout(0.003)
        begin = now = time.monotonic()
        sent = arrived = 0
        while now < begin + seconds:
            while sent < (now - begin) * kib_per_s * 1024:
                self._source.sendto(bytes(_DATAGRAM), self._address)
                sent += _DATAGRAM
            with contextlib.suppress(TimeoutError, BlockingIOError):
                while True:
                    arrived += len(self._target.recv(65536))
            now = time.monotonic()
        self._target.settimeout(_PATIENCE_S)
        return arrived / 1024, now - begin

    def longest_gap_s(self, event: Callable[[], object], seconds: float = 3.0) -> float:
        """Cause an event, keep sending, and give the longest time without arrival."""
        event()
        begin = last = time.monotonic()
        gap = 0.0
        while time.monotonic() < begin + seconds:
            if self.passes():
                now = time.monotonic()
                gap, last = max(gap, now - last), now
                time.sleep(0.005)
        return max(gap, time.monotonic() - last)
