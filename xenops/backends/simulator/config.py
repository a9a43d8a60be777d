"""The ``xenops`` section of the simulator's YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from xapi_py.base import simulator_config
from xapi_py.base.config import build

GUEST_MISDEEDS = ("ignores_shutdown", "hangs_at_shutdown")


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """How simulated guests behave.  Times in seconds.

    ``agent``: whether PV drivers and the guest agent are installed.
    ``boot_delay_s``: from unpause to the agent's first report.
    ``ack_delay_s``: from a request to its acknowledgement, and
    ``shutdown_delay_s`` from there to the stop of the domain.
    ``detach_refused``: devices the guest does not let go.
    ``agent_keys``: what the agent says beyond the defaults, in xenstore terms;
    an empty value removes a default.
    """

    agent: bool = True
    boot_delay_s: float = 1.0
    ack_delay_s: float = 0.0
    shutdown_delay_s: float = 0.1
    ignores_shutdown: bool = False
    hangs_at_shutdown: bool = False
    detach_refused: tuple[str, ...] = ()
    agent_keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FaultConfig:
    """A failure to come.

    ``at`` names a method of the backend contract (``build``, ``vbd_plug``...);
    ``vm`` is a pattern (``*``, ``?``) for the uuid or name.  The first ``skip``
    matching calls pass, then ``times`` calls fail (-1: for ever) with the daemon
    error ``error`` and its ``params``.  ``at: guest`` is special: ``error`` then
    is what the guest does wrong, ``ignores_shutdown`` or ``hangs_at_shutdown``.
    """

    at: str
    vm: str = "*"
    skip: int = 0
    times: int = 1
    error: str = "Internal_error"
    params: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        if self.at == "guest" and self.error not in GUEST_MISDEEDS:
            raise ValueError(f"a guest fault is one of {list(GUEST_MISDEEDS)}")


@dataclass(frozen=True, slots=True)
class XenopsSection:
    """Latencies by backend method in seconds, faults, and guests by name pattern.

    ``storage``: ``daemon`` has the storage daemon next door attach the disks of
    VBDs, ``none`` takes them as they are.  ``network``: ``daemon`` has the network
    daemon next door put VIFs into their bridges, ``none`` leaves it alone.
    """

    control_domain_memory_mib: int = 1024
    latencies: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[FaultConfig, ...] = ()
    guest: GuestConfig = GuestConfig()
    guests: Mapping[str, GuestConfig] = field(default_factory=dict)
    storage: Literal["none", "daemon"] = "daemon"
    network: Literal["none", "daemon"] = "none"


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """One simulated host."""

    host: simulator_config.HostConfig
    section: XenopsSection
    bare: bool = False

    @property
    def memory_bytes(self) -> int:
        """All memory of the host."""
        return self.host.memory_mib * 1024 * 1024

    @property
    def control_domain_bytes(self) -> int:
        """The control domain's share of it."""
        return self.section.control_domain_memory_mib * 1024 * 1024


def settings(config: simulator_config.SimulatorConfig, number: int) -> SimulatorSettings:
    """Give what the file says on one host.  Errors: ConfigError."""
    host = config.host(number)
    section = build(dict(host.xenops), XenopsSection, f"hosts[{number - 1}]: xenops")
    return SimulatorSettings(host, section, config.bare)
