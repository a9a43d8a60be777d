"""The simulator's YAML: who the simulated hosts are, and a section a daemon.

Every daemon of a simulated host gets the same file and the number of its host.
What a host *is* (name, processors, memory, network cards) is defined here, so
that all daemons tell the same story; what a daemon *does* with it (latencies,
faults, disks, links) is in a free-form section that the daemon checks itself
with ``xapi_py.base.config.build``.  Reference: doc/simulator.md.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from xapi_py.base import config
from xapi_py.base.names import Uuid

Section = Mapping[str, object]

_NAMESPACE: Final = uuid.UUID("5f0f8e0e-3a31-5a3e-9d5c-6f1d6a0f5b11")
"""Base of the uuids of simulated hosts and parts: the same in every run."""

MAX_HOSTS: Final = 250
MAX_NICS: Final = 16


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """The processors of a simulated host; ``count`` is the number of threads in all."""

    count: int = 8
    sockets: int = 1
    vendor: str = "GenuineIntel"
    model_name: str = "Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz"
    family: int = 6
    model: int = 63
    stepping: int = 2
    speed_mhz: int = 2500
    features: str = "1fc9cbf5-f6d83203-2191cbf5-00000123-00000001-00000329-00000000-00000000"

    def __post_init__(self) -> None:
        if self.count < 1 or self.sockets < 1 or self.count % self.sockets:
            raise ValueError("cpu: count must be a positive multiple of sockets")


@dataclass(frozen=True, slots=True)
class NicConfig:
    """A physical network card; an empty ``mac`` or ``device`` is made up from its position.

    ``virtual_functions`` is how many it can show (SR-IOV).
    """

    device: str = ""
    mac: str = ""
    speed_mbps: int = 10000
    duplex: str = "full"
    carrier: bool = True
    mtu: int = 1500
    max_mtu: int = 9710
    vendor: str = "Intel Corporation"
    product: str = "Ethernet Controller 10-Gigabit X540-AT2"
    pci_bus_path: str = ""
    virtual_functions: int = 0


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One simulated host; members left out are made up from its number."""

    name: str = ""
    uuid: str = ""
    cpu: CpuConfig = CpuConfig()
    memory_mib: int = 32768
    nics: tuple[NicConfig, ...] = (NicConfig(),) * 4
    xapi: Section = field(default_factory=dict)
    xenops: Section = field(default_factory=dict)
    sm: Section = field(default_factory=dict)
    network: Section = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.memory_mib < 1024:
            raise ValueError("memory_mib must be at least 1024")
        if len(self.nics) > MAX_NICS:
            raise ValueError(f"at most {MAX_NICS} nics")


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The whole file.

    ``array`` describes the storage array that all hosts see, ``pool`` the
    defaults of the API server, ``xapi``, ``xenops``, ``sm`` and ``network``
    what holds for every host unless the host's own section says otherwise.
    ``bare``: no storage, no NIC records, no guest agent.
    """

    hosts: tuple[HostConfig, ...] = ()
    bare: bool = False
    array: Section = field(default_factory=dict)
    pool: Section = field(default_factory=dict)
    xapi: Section = field(default_factory=dict)
    xenops: Section = field(default_factory=dict)
    sm: Section = field(default_factory=dict)
    network: Section = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.hosts) > MAX_HOSTS:
            raise ValueError(f"at most {MAX_HOSTS} hosts")

    def host(self, number: int) -> HostConfig:
        """Give host ``number`` (from 1) complete, described in the file or not.

        Its sections are those of the whole file with the host's own members
        over them, one level deep.
        """
        if not 1 <= number <= MAX_HOSTS:
            raise ValueError(f"host number {number} is not within 1..{MAX_HOSTS}")
        described = self.hosts[number - 1] if number <= len(self.hosts) else HostConfig()
        return replace(
            described,
            name=described.name or f"host-{number}",
            uuid=described.uuid or stable_uuid("host", str(number)),
            nics=tuple(_complete(nic, number, i) for i, nic in enumerate(described.nics)),
            xapi={**self.xapi, **described.xapi},
            xenops={**self.xenops, **described.xenops},
            sm={**self.sm, **described.sm},
            network={**self.network, **described.network},
        )


def load(path: Path | None) -> SimulatorConfig:
    """Read the simulator's YAML; None gives the defaults.

    Errors: xapi_py.base.config.ConfigError names the member that does not fit.
    """
    return SimulatorConfig() if path is None else config.load(path, SimulatorConfig)


def stable_uuid(*parts: str) -> Uuid:
    """Make a uuid that depends on ``parts`` only: a simulated thing keeps its uuid."""
    return Uuid(str(uuid.uuid5(_NAMESPACE, "/".join(parts))))


def _complete(nic: NicConfig, host: int, position: int) -> NicConfig:
    return replace(
        nic,
        device=nic.device or f"eth{position}",
        mac=nic.mac or f"02:00:00:00:{host:02x}:{position:02x}",
        pci_bus_path=nic.pci_bus_path or f"0000:{4 + position // 2:02x}:00.{position % 2}",
    )
