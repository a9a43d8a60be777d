"""What a new domain finds in xenstore; pure.

Source: the tree the reference toolstack writes, in its order.
"""

import re
from collections.abc import Mapping
from typing import Final

from xenops.backends.xen import paths
from xenops.backends.xen.devices.nodes import Node
from xenops.metadata import VmConfig, VmMetadata

GUEST_FOLDERS: Final = (
    *("device", "device/vbd", "device/vif", "feature", "error", "drivers", "control", "attr"),
    *("xenserver", "xenserver/attr", "data", "messages", "vm-data", "hvmloader", "rrd"),
)
"""Nodes in which the guest may write."""

CONSOLE_LIMIT: Final = 65536
_VALID: Final = re.compile(r"[A-Za-z0-9_@-]+(/[A-Za-z0-9_@-]+)*")
"""Names a node can have; a flag of any other name is for nobody who reads xenstore."""

_TYPES: Final = {"HVM": "hvm", "PV": "pv", "PVinPVH": "pv-in-pvh", "PVH": "pvh"}


def domain_type(vm: VmConfig) -> str:
    """Give the word for a VM's type that xenstore has."""
    return _TYPES[vm.ty]


def guest_data(data: Mapping[str, str]) -> dict[str, str]:
    """Keep the keys a VM may bring along."""
    ours = {k: v for k, v in data.items() if k.startswith(("vm-data/", "FIST/"))}
    return {k: v for k, v in ours.items() if _VALID.fullmatch(k)}


def tree(domid: int, md: VmMetadata, created_ns: int) -> list[Node]:
    """Give the skeleton, written as a whole before anything else."""
    vm = md.vm
    home, vm_tree = paths.home(domid), paths.vm_tree(vm.id)
    readable, own = paths.readable_by(domid), paths.owned_by(domid)
    # A node has the permissions of its parent unless it gets its own.
    return [
        Node(home, "", readable),
        Node(f"{home}/vm", vm_tree),
        Node(f"{home}/name", vm.name),
        Node(f"{home}/action-request", "poweroff"),
        Node(paths.mirror(domid), "", paths.DOM0_ONLY),
        Node(paths.libxl(domid), "", paths.DOM0_ONLY),
        Node(vm_tree, "", readable),
        Node(f"{vm_tree}/uuid", vm.id),
        Node(f"{vm_tree}/name", vm.name),
        Node(f"{vm_tree}/domains/{domid}", home),
        Node(f"{vm_tree}/domains/{domid}/create-time", str(created_ns)),
        Node(f"{home}/cpu"),
        Node(f"{home}/memory"),
        *(Node(f"{home}/{name}", "", None if "/" in name else own) for name in GUEST_FOLDERS),
    ]


def values(domid: int, md: VmMetadata, initial_target: int, unique_id: str) -> dict[str, str]:
    """Give what is written after the skeleton, before the guest is loaded."""
    vm = md.vm
    home = paths.home(domid)
    keys: dict[str, str] = {}
    keys.update(guest_data(vm.xsdata))
    keys.update({f"platform/{name}": value for name, value in platform(vm).items()})
    keys.update({f"bios-strings/{name}": value for name, value in vm.bios_strings.items()})
    if vm.ty == "HVM":
        keys["hvmloader/bios"] = "ovmf" if vm.hvm.firmware == "uefi" else "seabios"
        keys["hvmloader/allow-memory-relocate"] = "0"
    keys |= {
        "control/platform-feature-multiprocessor-suspend": "1",
        "control/platform-feature-xs_reset_watches": "1",
        "control/has-vendor-device": str(int(vm.has_vendor_device)),
        "unique-domain-id": unique_id,
        "memory/initial-target": str(initial_target // 1024),
        "domain-type": domain_type(vm),
        **availability(vm.vcpu_max, vm.vcpus),
    }
    return {f"{home}/{name}": value for name, value in keys.items() if _VALID.fullmatch(name)}


def availability(vcpu_max: int, vcpus: int) -> dict[str, str]:
    """Give which virtual processors are to be used."""
    return {
        f"cpu/{vcpu}/availability": "online" if vcpu < vcpus else "offline"
        for vcpu in range(vcpu_max)
    }


def platform(vm: VmConfig) -> dict[str, str]:
    """Give the platform flags as firmware and emulator read them."""
    flags = {"acpi_s3": "0", "acpi_s4": "0", **vm.platformdata}
    flags |= {
        "vcpu/number": str(vm.vcpu_max),
        "vcpu/current": str(vm.vcpus),
        "vcpu/weight": str(vm.scheduler_params.weight),
        "vcpu/cap": str(vm.scheduler_params.cap),
    }
    if vm.generation_id:
        flags["generation-id"] = vm.generation_id
    return flags


def built(
    domid: int, store_port: int, store_mfn: int, console_port: int, console_mfn: int
) -> dict[str, str]:
    """Give what a loaded guest and the console daemon need, by relative path."""
    console = f"/local/domain/0/backend/console/{domid}/0"
    return {
        "domid": str(domid),
        "store/port": str(store_port),
        "store/ring-ref": str(store_mfn),
        "serial/0/limit": str(CONSOLE_LIMIT),
        "console/backend": console,
        "console/backend-id": "0",
        "console/port": str(console_port),
        "console/ring-ref": str(console_mfn),
        "console/limit": str(CONSOLE_LIMIT),
        "console/type": "xenconsoled",
        "console/output": "pty",
        "console/tty": "",
    }


def memory(static_max: int, target: int, low: int, high: int) -> dict[str, str]:
    """Give the sizes, in KiB there and bytes here, by relative path."""
    return {
        "memory/static-max": str(static_max // 1024),
        "memory/target": str(target // 1024),
        "memory/dynamic-min": str(low // 1024),
        "memory/dynamic-max": str(high // 1024),
    }
