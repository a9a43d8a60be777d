"""What a guest agent wrote to xenstore, as VM_guest_metrics fields.

Keys are paths below the domain's own directory, as the daemon reports them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DRIVER_VENDOR = re.compile(r"(?P<vendor>\S+) XEN(?P<name>[A-Z0-9]+) (?P<version>.*)")
_NEW_ADDRESS = re.compile(r"attr/vif/(\d+)/(ipv4|ipv6)/(\d+)")
_OLD_IPV4 = re.compile(r"attr/(?:eth|xenbr|eno|ens|emp|enx)(\d+)/ip")
_OLD_IPV6 = re.compile(r"attr/(?:eth|xenbr|eno|ens|emp|enx)(\d+)/ipv6/(\d+)/addr")
_OS_KEYS = {
    "name": "data/os_name",
    "uname": "data/os_uname",
    "distro": "data/os_distro",
    "major": "data/os_majorver",
    "minor": "data/os_minorver",
    "spmajor": "attr/os/spmajor",
    "spminor": "attr/os/spminor",
}
_PV_KEYS = {
    "major": "attr/PVAddons/MajorVersion",
    "minor": "attr/PVAddons/MinorVersion",
    "micro": "attr/PVAddons/MicroVersion",
    "build": "attr/PVAddons/BuildVersion",
}
# Heartbeats and figures that go elsewhere; alone they are no reason to write.
IGNORED_KEYS = frozenset(
    {"data/updated", "data/update_cnt", "data/meminfo_free", "data/meminfo_total"}
)


@dataclass(frozen=True, slots=True)
class GuestFields:
    """The fields of VM_guest_metrics that agent keys decide."""

    PV_drivers_version: Mapping[str, str]
    os_version: Mapping[str, str]
    netbios_name: Mapping[str, str]
    networks: Mapping[str, str]
    other: Mapping[str, str]
    can_use_hotplug_vbd: str
    can_use_hotplug_vif: str
    PV_drivers_detected: bool
    PV_drivers_up_to_date: bool


def _mapped(keys: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {name: keys[path] for name, path in names.items() if path in keys}


def driver_versions(keys: Mapping[str, str]) -> dict[str, str]:
    """Read the driver version map: numbers, and one entry per named driver."""
    found = _mapped(keys, _PV_KEYS)
    for path, text in keys.items():
        if path.startswith("drivers/"):
            match = _DRIVER_VENDOR.fullmatch(text)
            if match:
                name = f"xen{match['name'].lower()}"
                found[name] = f"{match['vendor']} {match['version']}"
    if found and "micro" not in found:
        found["micro"] = "-1"
    return found


def addresses(keys: Mapping[str, str]) -> dict[str, str]:
    """Read guest addresses: ``0/ip``, ``0/ipv4/0``, ``0/ipv6/0``.

    The newer keys below ``attr/vif`` win over the ones by interface name.
    """
    found: dict[str, str] = {}
    if any(path.startswith("attr/vif/") for path in keys):
        for path in sorted(keys):
            match = _NEW_ADDRESS.fullmatch(path)
            if match and keys[path]:
                device, family, number = match.groups()
                found[f"{device}/{family}/{number}"] = keys[path]
                if family == "ipv4":
                    found.setdefault(f"{device}/ip", keys[path])
        return found
    for path, text in keys.items():
        if match := _OLD_IPV4.fullmatch(path):
            found[f"{match[1]}/ip"] = text
            found[f"{match[1]}/ipv4/0"] = text
        elif match := _OLD_IPV6.fullmatch(path):
            found[f"{match[1]}/ipv6/{match[2]}"] = text
    return found


def other_map(keys: Mapping[str, str]) -> dict[str, str]:
    """Read the features below ``control`` and the terminal services flag."""
    prefix = "control/"
    found = {
        path[len(prefix) :]: text
        for path, text in keys.items()
        if path.startswith(prefix) and "/" not in path[len(prefix) :]
    }
    if "data/ts" in keys:
        found["data-ts"] = keys["data/ts"]
    if "data/cant_suspend_reason" in keys:
        found.pop("feature-suspend", None)
        found["data-cant-suspend-reason"] = keys["data/cant_suspend_reason"]
    return found


def _tristate(keys: Mapping[str, str], path: str) -> str:
    return {"1": "yes", "0": "no"}.get(keys.get(path, ""), "unspecified")


def fields_of(keys: Mapping[str, str], pv_drivers_detected: bool) -> GuestFields:
    """Translate agent keys; absent ones give empty maps and ``unspecified``."""
    netbios = {}
    if "data/host_name_dns" in keys:
        domain = keys.get("data/domain", "")
        host = keys["data/host_name_dns"]
        netbios["host_name"] = f"{host}.{domain}" if domain else host
    return GuestFields(
        PV_drivers_version=driver_versions(keys),
        os_version=_mapped(keys, _OS_KEYS),
        netbios_name=netbios,
        networks=addresses(keys),
        other=other_map(keys),
        can_use_hotplug_vbd=_tristate(keys, "feature/hotplug/vbd"),
        can_use_hotplug_vif=_tristate(keys, "feature/hotplug/vif"),
        PV_drivers_detected=pv_drivers_detected,
        PV_drivers_up_to_date=pv_drivers_detected,
    )


def worth_writing(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Tell whether any key that reaches the record changed."""
    changed = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
    return bool(changed - IGNORED_KEYS)
