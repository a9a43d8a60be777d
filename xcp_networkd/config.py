"""Configuration of the network daemon: the NICs of its host and the ``network`` section."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import yaml

from xapi_py.base import simulator_config
from xapi_py.base.config import build
from xapi_py.base.private_file import replace as write_file
from xapi_py.base.simulator_config import NicConfig

log = logging.getLogger(__name__)

BackendWord = Literal["openvswitch", "bridge"]

CHOICE = "backend"
"""File of the state folder: what was chosen at the first start."""


@dataclass(frozen=True, slots=True)
class ManagementConfig:
    """What the installer would have written: how the first NIC is set up at first start."""

    device: str = "eth0"
    mode: Literal["dhcp", "static", "none"] = "dhcp"
    ip: str = ""
    prefix_length: int = 24
    gateway: str = ""
    dns: tuple[str, ...] = ()
    vlan: int = -1


@dataclass(frozen=True, slots=True)
class DhcpConfig:
    """The simulated DHCP server; addresses are ``prefix.HOST.POSITION``."""

    prefix: str = "10.71"
    prefix_length: int = 16
    gateway: str = "10.71.0.1"
    dns: tuple[str, ...] = ("10.71.0.2",)
    domains: tuple[str, ...] = ("example",)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The ``network`` section.

    ``latencies_s`` maps a method name, or ``*``, to seconds added to each
    call; ``fail_steps`` maps the class name of a step to the text of the
    error it fails with; ``used_vlans`` are tags ("eth0.100") that something else took.
    """

    backend: Literal["openvswitch", "bridge"] = "openvswitch"
    management: ManagementConfig = field(default_factory=ManagementConfig)
    dhcp: DhcpConfig = field(default_factory=DhcpConfig)
    latencies_s: Mapping[str, float] = field(default_factory=dict)
    fail_steps: Mapping[str, str] = field(default_factory=dict)
    used_vlans: tuple[str, ...] = ()
    traffic_bytes_per_s: int = 20000
    management_timeout_s: float = 45.0


@dataclass(frozen=True, slots=True)
class HostNetwork:
    """Everything the simulated backend needs to know about its host."""

    host: int
    nics: tuple[NicConfig, ...]
    network: NetworkConfig


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """The ``network`` section for a real host.

    ``network_conf`` is the file whose word names the backend, ``management_conf`` what
    the installer left, read at the first start, ``network_reset`` what asks for a new
    beginning (``xcp_networkd.reset``).  ``backend`` counts where there is no ``network_conf``;
    ``auto``: see ``chosen``.  ``datapath`` is ``netdev`` for an Open
    vSwitch in user space.  ``rename_nics``: cards are called eth<position> at the start.
    ``sysfs`` is where the virtual functions of cards are looked for.
    """

    backend: Literal["openvswitch", "bridge", "auto"] = "auto"
    datapath: Literal["system", "netdev"] = "system"
    resolv_conf: str = "/etc/resolv.conf"
    ovs_run: str = "/var/run/openvswitch"
    network_conf: str = "/etc/xcp/network.conf"
    management_conf: str = "/etc/firstboot.d/data/management.conf"
    network_reset: str = "/var/lib/xcp/network-reset"
    management_timeout_s: float = 45.0
    rename_nics: bool = False
    sysfs: str = "/sys"


def backend_word(text: str) -> BackendWord:
    """What a ``network.conf`` says; anything unknown stands for Open vSwitch."""
    return "bridge" if text.strip() == "bridge" else "openvswitch"


def load_system(path: Path | None, backend: str, state: Path) -> SystemConfig:
    """Read the ``network`` section of a real host; ``backend`` ``xen`` leaves it to the host.

    ``state`` is the daemon's folder.  Errors: ConfigError names the member that does not fit.
    """
    document = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    found = build(dict(document.get("network", {})), SystemConfig, "network")
    if backend == "xen":
        try:
            backend = Path(found.network_conf).read_text(encoding="utf-8")
        except FileNotFoundError:
            backend = chosen(found, state) if found.backend == "auto" else found.backend
    return replace(found, backend=backend_word(backend))


def chosen(system: SystemConfig, state: Path) -> BackendWord:
    """Choose Open vSwitch where its daemon runs at the first start, else the kernel's bridges.

    The choice is kept: a switch that is late, or was installed for something else, changes
    nothing later.
    """
    try:
        return backend_word((state / CHOICE).read_text(encoding="ascii"))
    except FileNotFoundError:
        runs = switch_runs(Path(system.ovs_run))
    choice: BackendWord = "openvswitch" if runs else "bridge"
    log.info("%s is chosen: Open vSwitch %s", choice, "runs" if runs else "does not run")
    write_file(state / CHOICE, f"{choice}\n".encode())
    return choice


def switch_runs(ovs_run: Path, proc: Path = Path("/proc")) -> bool:
    """Say whether the switch of a run folder is a living process."""
    try:
        number = int((ovs_run / "ovs-vswitchd.pid").read_text(encoding="ascii"))
        return (proc / str(number) / "comm").read_text(encoding="ascii").startswith("ovs-vswitchd")
    except (OSError, ValueError):
        return False


def load(path: Path | None, host: int) -> HostNetwork:
    """Read host ``host`` from the simulator's YAML; a bare host has no NICs.

    Errors: ConfigError names the member that does not fit.
    """
    whole = simulator_config.load(path)
    described = whole.host(host)
    network = build(dict(described.network), NetworkConfig, "network")
    return HostNetwork(host, () if whole.bare else described.nics, network)
