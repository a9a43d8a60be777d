"""What domains are like now: from Xen and from the copy of their keys, without waiting."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from xenops.backends.contract import Console, DomainInfo, DomainStat, VbdStat, VifStat
from xenops.backends.xen import layout
from xenops.backends.xen.control import reason_of
from xenops.backends.xen.domains import Domains, XenDomain
from xenops.backends.xen.host import XenHost
from xenops.bindings.interface import PAGE, XenDomainInfo

MIB: Final = 1 << 20
AGENT_FOLDERS: Final = ("attr/", "control/", "data/", "drivers/", "feature/", "xenserver/attr/")
NOT_FOR_CLIENTS: Final = ("attr/os/hotfixes",)


class Disks(Protocol):
    """The block devices of domains."""

    def stat(self, domid: int) -> Mapping[str, VbdStat]: ...

    def connected(self, domid: int) -> bool: ...


class Networks(Protocol):
    """The network devices of domains."""

    def stat(self, domid: int) -> Mapping[str, VifStat]: ...

    def connected(self, domid: int) -> bool: ...


class PciDevices(Protocol):
    """The PCI devices of domains."""

    def stat(self, domid: int) -> Sequence[str]: ...


class Terminals(Protocol):
    """The consoles of domains."""

    def stat(self, domid: int) -> Sequence[Console]: ...


class Stat:
    """Answers about domains."""

    def __init__(
        self,
        host: XenHost,
        domains: Domains,
        disks: Disks,
        networks: Networks,
        pcis: PciDevices,
        consoles: Terminals,
    ) -> None:
        self._host = host
        self._domains = domains
        self._disks = disks
        self._networks = networks
        self._pcis = pcis
        self._consoles = consoles

    def domains(self) -> list[DomainInfo]:
        """Give all domains."""
        infos = {info.domid: info for info in self._host.xc.domains()}
        return [
            _info(domain, infos[domain.domid])
            for domain in self._domains.all()
            if domain.domid in infos and not infos[domain.domid].dying
        ]

    def find(self, vm: str) -> DomainInfo | None:
        """Give the newest domain of a VM."""
        domain = self._domains.find(vm)
        info = None if domain is None else self._host.xc.domain(domain.domid)
        if domain is None or info is None or info.dying:
            return None
        return _info(domain, info)

    def stat(self, domid: int) -> DomainStat:
        """Give all about one domain.  Errors: Does_not_exist."""
        domain, info = self._domains.get(domid), self._domains.info(domid)
        keys, record = domain.keys, domain.record
        actual = info.total_pages * PAGE
        spare = 0 if domain.domain_type == "pv" else MIB
        return DomainStat(
            memory_target=_target(domain),
            memory_actual=actual,
            memory_limit=max(actual, info.max_pages * PAGE - spare),
            vcpu_target=record.vcpus,
            shadow_multiplier_target=record.shadow_multiplier,
            rtc_timeoffset=record.rtc_timeoffset,
            uncooperative_balloon_driver="memory/uncooperative" in keys,
            guest_agent=agent_keys(keys),
            xsdata={name: clean(value) for name, value in layout.guest_data(keys).items()},
            pv_drivers_detected=self._has_drivers(domain),
            consoles=self._consoles.stat(domid),
            vbds=self._disks.stat(domid),
            vifs=self._networks.stat(domid),
            pcis=self._pcis.stat(domid),
        )

    def _has_drivers(self, domain: XenDomain) -> bool:
        """Say yes from the first connected device on, until no device is left."""
        domid, record = domain.domid, domain.record
        if self._disks.connected(domid) or self._networks.connected(domid):
            record.pv_drivers = True
        elif not self._disks.stat(domid) and not self._networks.stat(domid):
            record.pv_drivers = False
        return record.pv_drivers


def _target(domain: XenDomain) -> int:
    try:
        return int(domain.keys.get("memory/target", "")) * 1024
    except ValueError:
        return domain.record.target - domain.record.video_mib * MIB


def agent_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Give what the guest's agent tells, as text that can be passed on."""
    return {
        name: clean(value)
        for name, value in keys.items()
        if name.startswith(AGENT_FOLDERS) and not name.startswith(NOT_FOR_CLIENTS)
    }


def clean(value: str) -> str:
    """Give text in which a guest's stray bytes are marked."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _info(domain: XenDomain, info: XenDomainInfo) -> DomainInfo:
    return DomainInfo(
        domid=domain.domid,
        vm=domain.vm,
        paused=info.paused,
        shutdown=reason_of(info.shutdown),
        survivable=domain.record.survivable,
    )
