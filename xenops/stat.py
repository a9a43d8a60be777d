"""The state of a VM as the API server gets it."""

from typing import Any

from xenops.backends.contract import Backend, DomainStat
from xenops.metadata import VmMetadata
from xenops.vms import Vm


def vm_stat(vm: Vm, power_state: str, backend: Backend) -> dict[str, Any]:
    """Give everything about a VM that may change by itself or by an operation.

    Sizes in bytes, times in seconds since 1970 (0.0: never).  Devices of the
    metadata and plugged ones are listed; of a VM without a domain the latter
    are none, and its domain figures are zero or empty.
    """
    domain = backend.find(vm.id)
    extra, config = vm.extra, vm.md.vm
    stat: dict[str, Any] = {
        "id": vm.id,
        "power_state": power_state,
        "domids": [] if domain is None else [domain.domid],
        "last_start_time": extra.last_start_time,
        "last_shutdown": extra.last_shutdown or None,
        "suspend_memory_bytes": extra.suspend_memory_bytes,
        "hvm": config.ty == "HVM",
        "domain_type": config.ty,
        "nomigrate": extra.nomigrate,
        "nested_virt": extra.nested_virt,
        "featureset": extra.platformdata.get("featureset", ""),
    }
    live = None if domain is None else backend.stat(domain.domid)
    stat.update(_EMPTY if live is None else _domain(live))
    if live is None:
        stat["rtc_timeoffset"] = config.platformdata.get("timeoffset", config.hvm.timeoffset)
        stat["xsdata"] = dict(config.xsdata)
    stat["vbds"] = _vbds(vm.md, extra.active_vbds, live)
    stat["vifs"] = _vifs(vm.md, extra.active_vifs, live)
    stat["pcis"] = [] if live is None else list(live.pcis)
    return stat


_EMPTY: dict[str, Any] = {
    "memory_target": 0,
    "memory_actual": 0,
    "memory_limit": 0,
    "vcpu_target": 0,
    "shadow_multiplier_target": 0.0,
    "uncooperative_balloon_driver": False,
    "guest_agent": {},
    "pv_drivers_detected": False,
    "consoles": [],
}


def _domain(live: DomainStat) -> dict[str, Any]:
    return {
        "memory_target": live.memory_target,
        "memory_actual": live.memory_actual,
        "memory_limit": live.memory_limit,
        "vcpu_target": live.vcpu_target,
        "shadow_multiplier_target": live.shadow_multiplier_target,
        "rtc_timeoffset": live.rtc_timeoffset,
        "uncooperative_balloon_driver": live.uncooperative_balloon_driver,
        "guest_agent": live.guest_agent,
        "xsdata": live.xsdata,
        "pv_drivers_detected": live.pv_drivers_detected,
        "consoles": live.consoles,
    }


def _vbds(md: VmMetadata, active: tuple[str, ...], live: DomainStat | None) -> dict[str, Any]:
    stats: dict[str, Any] = {}
    for vbd in md.vbds:
        stats[vbd.device] = {
            "plugged": False,
            "active": vbd.device in active,
            "media_present": vbd.backend is not None,
            "disk": vbd.backend,
        }
    for device, now in ({} if live is None else live.vbds).items():
        stats[device] = {
            "plugged": now.plugged,
            "active": device in active,
            "media_present": now.media_present,
            "disk": now.disk,
        }
    return stats


def _vifs(md: VmMetadata, active: tuple[str, ...], live: DomainStat | None) -> dict[str, Any]:
    stats: dict[str, Any] = {}
    for vif in md.vifs:
        stats[vif.device] = {
            "plugged": False,
            "active": vif.device in active,
            "mac": vif.mac,
            "bridge": vif.bridge,
            "carrier": vif.carrier,
            "locking_mode": vif.locking_mode,
        }
    for device, now in ({} if live is None else live.vifs).items():
        stats[device] = {
            "plugged": now.plugged,
            "active": device in active,
            "mac": now.mac,
            "bridge": now.bridge,
            "carrier": now.carrier,
            "locking_mode": now.locking_mode,
        }
    return stats
