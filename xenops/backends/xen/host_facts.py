"""The host as Xen and its firmware describe it, and its moving figures."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from xenops.backends.contract import HostStat
from xenops.backends.xen import machine_facts
from xenops.backends.xen.domains import Domains
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.machine_facts import MachineFacts
from xenops.backends.xen.memory import Memory
from xenops.bindings.errors import XenError
from xenops.bindings.interface import PAGE, VcpuInfo

Figures = Callable[[int], Mapping[str, object]]

_HOST, _PV, _HVM = 1, 2, 3
_BIOS_FILES: Final = {
    "bios-vendor": "bios_vendor",
    "bios-version": "bios_version",
    "system-manufacturer": "sys_vendor",
    "system-product-name": "product_name",
    "system-version": "product_version",
    "system-serial-number": "product_serial",
    "baseboard-manufacturer": "board_vendor",
    "baseboard-product-name": "board_name",
    "baseboard-version": "board_version",
    "baseboard-serial-number": "board_serial",
}
_OEM: Final = {
    "hp-rombios": "",
    "oem-1": "Xen",
    "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
}


class HostFacts:
    """Answers about this host; what cannot change is read once."""

    def __init__(
        self, host: XenHost, domains: Domains, memory: Memory, root: Path = Path("/")
    ) -> None:
        self._host = host
        self._domains = domains
        self._memory = memory
        self._root = root
        self._cpu: dict[str, str] = {}
        self._bios: dict[str, str] = {}
        self._machine = MachineFacts()

    def stat(self) -> HostStat:
        """Give what the host is.  Memory in bytes."""
        xc = self._host.xc
        info, version = xc.physical_info(), xc.version()
        own = xc.domain(0)
        used = info.total_pages - info.free_pages
        nobodys = used - sum(domain.total_pages for domain in xc.domains())
        if not self._cpu:
            self._cpu = self._processors()
            self._bios = self._firmware()
            self._machine = machine_facts.read(self._root)
        return HostStat(
            memory_total=info.total_pages * PAGE,
            memory_free=max(0, self._memory.free()),
            control_domain_memory=0 if own is None else own.total_pages * PAGE,
            cpu=self._cpu,
            hypervisor={
                "version": f"{version.major}.{version.minor}{version.extra}",
                "extra_version": version.extra,
                "compiler": version.compiler,
                "compile_date": version.compile_date,
                "changeset": version.changeset,
                "caps": version.capabilities,
                **machine_facts.hypervisor_words(self._machine),
            },
            chipset={"iommu": "true" if info.directio else "false", "igd": "false"},
            bios=self._bios,
            boot_time=self._machine.boot_time,
            control_domain_vcpus=0 if own is None else own.online_vcpus,
            pcis=self._machine.pcis,
            memory_overhead=max(0, nobodys) * PAGE,
        )

    def _processors(self) -> dict[str, str]:
        xc = self._host.xc
        info, words = xc.physical_info(), _first_processor(self._root / "proc/cpuinfo")
        pv, hvm = _features(xc.featureset(_PV)), _features(xc.featureset(_HVM))
        return {
            "cpu_count": str(info.cpus),
            "socket_count": str(xc.cpu_sockets()),
            "threads_per_core": str(info.threads_per_core),
            "vendor": words.get("vendor_id", ""),
            "speed": str(info.cpu_khz // 1000),
            "modelname": words.get("model name", ""),
            "family": words.get("cpu family", ""),
            "model": words.get("model", ""),
            "stepping": words.get("stepping", ""),
            "flags": words.get("flags", ""),
            "features": _features(xc.featureset(_HOST)),
            "features_pv": pv,
            "features_hvm": hvm,
            "features_pv_host": pv,
            "features_hvm_host": hvm,
        }

    def _firmware(self) -> dict[str, str]:
        folder = self._root / "sys/class/dmi/id"
        return {key: _line(folder / file) for key, file in _BIOS_FILES.items()} | _OEM

    def metrics(self) -> Mapping[str, object]:
        """Give busy seconds of each processor since the start, and counts."""
        xc = self._host.xc
        now_s = self._uptime_s()
        running = [d for d in xc.domains() if not d.paused and d.shutdown is None and not d.dying]
        info = xc.physical_info()
        return {
            "cpus": [max(0.0, now_s - idle / 1e9) for idle in xc.cpu_idle_ns()],
            "loadavg": os.getloadavg()[0],
            "running_vcpus": sum(d.online_vcpus for d in running if d.domid),
            "running_domains": len(running),
            "memory_total": info.total_pages * PAGE,
            "memory_free": info.free_pages * PAGE,
        }

    def _uptime_s(self) -> float:
        try:
            return float((self._root / "proc/uptime").read_text().split()[0])
        except (OSError, ValueError):
            return 0.0

    def domain_metrics(self, vifs: Figures, vbds: Figures) -> dict[str, dict[str, object]]:
        """Give the figures of all running domains by VM."""
        xc = self._host.xc
        found: dict[str, dict[str, object]] = {}
        for info in xc.domains():
            domain = self._domains.peek(info.domid)
            if domain is None or info.dying:
                continue
            free = domain.keys.get("data/meminfo_free", "")
            target = domain.keys.get("memory/target", "")
            found[domain.vm] = {
                "domid": info.domid,
                "cpu": [v.cpu_time_ns / 1e9 for v in self._vcpus(info.domid, info.max_vcpu)],
                "memory_actual": info.total_pages * PAGE,
                "memory_target": int(target) * 1024 if target.isdigit() else 0,
                "memory_internal_free_kib": int(free) if free.isdigit() else None,
                "vifs": vifs(info.domid),
                "vbds": vbds(info.domid),
            }
        return found

    def _vcpus(self, domid: int, last: int) -> list[VcpuInfo]:
        try:
            vcpus = [self._host.xc.vcpu(domid, n) for n in range(last + 1 if last < 4096 else 0)]
        except XenError:
            return []
        return [vcpu for vcpu in vcpus if vcpu.online]


def _features(words: Sequence[int]) -> str:
    return "-".join(f"{word:08x}" for word in words)


def _line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _first_processor(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8", "replace").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}
