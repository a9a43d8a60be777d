"""How a VM boots, and the metadata the domain daemon gets for it."""

from collections.abc import Mapping

from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan import bios, memory, shutdown, vcpus
from xapi_py.plan.devices import vbd_records, vif_records
from xapi_py.plan.operations.vm import booleanish, features_key

DEFAULT_BOOT_ORDER = "cd"
DEFAULT_DEVICE_MODEL = "qemu-upstream-compat"
DEVICE_MODEL_UEFI = "qemu-upstream-uefi"
GENERATION_FRESH = "0:0"
_TY = {"hvm": "HVM", "pv": "PV", "pv_in_pvh": "PVinPVH", "pvh": "PVH"}

# What a licence without "no platform filter" lets through.
PLATFORM_KEYS = frozenset(
    {
        "acpi", "apic", "nx", "pae", "viridian", "acpi_s3", "acpi_s4", "mmio_size_mib",
        "revision", "device_id", "tsc_mode", "device-model", "xenguest", "pv-kernel-max-size",
        "pv-ramdisk-max-size", "pv-postinstall-kernel-max-size",
        "pv-postinstall-ramdisk-max-size", "usb", "usb_tablet", "parallel", "vga", "featureset",
        "nested-virt", "vcpu-unrestricted",
    }
)  # fmt: skip
_TSC_MODES = frozenset({"0", "1", "2", "3"})

Value = object


def sanitised_platform(platform: Mapping[str, str], filtered: bool) -> dict[str, str]:
    """Drop a bad tsc_mode and, when ``filtered``, unknown keys."""
    kept = {k: v for k, v in platform.items() if not filtered or k in PLATFORM_KEYS}
    if kept.get("tsc_mode", "0") not in _TSC_MODES:
        del kept["tsc_mode"]
    return kept


def firmware(row: Row) -> str:
    """Give ``bios`` or ``uefi``.  Errors: INVALID_VALUE."""
    name = str(row.HVM_boot_params.get("firmware", "bios"))
    if name not in ("bios", "uefi"):
        raise err.INVALID_VALUE("HVM-boot-params['firmware']", name)
    return name


def platform_for_start(row: Row) -> dict[str, str]:
    """Give VM.platform with the device model filled in, as stored at start."""
    platform = dict(row.platform)
    if memory.domain_type_of(row) == "hvm":
        default = DEVICE_MODEL_UEFI if firmware(row) == "uefi" else DEFAULT_DEVICE_MODEL
        if platform.get("device-model", "qemu-trad") == "qemu-trad":
            platform = {"device-model": default, **platform}
            platform["device-model"] = default
    return platform


def timeoffset(view: View, row: Row) -> str:
    """Give the clock offset in seconds as text: of a disk that resets, else platform.

    Errors: VM_ATTACHED_TO_MORE_THAN_ONE_VDI_WITH_TIMEOFFSET_MARKED_AS_RESET_ON_BOOT.
    """
    found = []
    for ref in row.VBDs:
        vbd = view.find("VBD", ref)
        vdi = view.find("VDI", vbd.VDI) if vbd is not None else None
        if vdi is not None and vdi.on_boot == "reset" and "timeoffset" in vdi.other_config:
            found.append(vdi.other_config["timeoffset"])
    if len(found) > 1:
        raise err.VM_ATTACHED_TO_MORE_THAN_ONE_VDI_WITH_TIMEOFFSET_MARKED_AS_RESET_ON_BOOT(row.ref)
    return str(found[0] if found else row.platform.get("timeoffset", "0"))


def _video(row: Row) -> tuple[str, int]:
    """Choose the graphics adapter and its memory in MiB."""
    platform = row.platform
    text = platform.get("videoram", "")
    size = int(text) if text.isdecimal() else memory.HVM_VIDEO_MIB
    if len(row.VGPUs):
        return "Vgpu", max(size, 16)
    if booleanish(platform.get("igd_passthrough")):
        return "GVT_d", size
    return ("Standard_VGA" if platform.get("vga") == "std" else "Cirrus"), size


def hvm_options(view: View, row: Row) -> dict[str, Value]:
    """Build the part of the record only HVM guests have."""
    platform = row.platform
    video, video_mib = _video(row)
    return {
        "shadow_multiplier": row.HVM_shadow_multiplier,
        "timeoffset": timeoffset(view, row),
        "video_mib": video_mib,
        "video": video,
        "acpi": booleanish(platform.get("acpi", "true")),
        "serial": platform.get("hvm_serial") or row.other_config.get("hvm_serial") or "pty",
        "keymap": platform.get("keymap"),
        "boot_order": row.HVM_boot_params.get("order") or DEFAULT_BOOT_ORDER,
        "firmware": firmware(row),
    }


def pv_options(view: View, row: Row) -> dict[str, Value]:
    """Build the paravirtual part: a kernel when one is named, else the bootloader."""
    devices = []
    for ref in row.VBDs:
        vbd = view.find("VBD", ref)
        if vbd is not None and vbd.bootable and vbd.VDI != NULL_REF:
            vdi = view.find("VDI", vbd.VDI)
            if vdi is not None:
                devices.append(vdi.uuid)
    return {
        "direct": row.PV_kernel != "",
        "kernel": row.PV_kernel,
        "cmdline": row.PV_args,
        "ramdisk": row.PV_ramdisk or None,
        "bootloader": row.PV_bootloader or "pygrub",
        "extra_args": row.PV_args,
        "legacy_args": row.PV_legacy_args,
        "bootloader_args": row.PV_bootloader_args,
        "devices": devices,
        "vncterm": "disable_pv_vnc" not in row.other_config,
        "pci_passthrough": "pci" in row.other_config,
    }


def guest_xenstore(data: Mapping[str, str]) -> dict[str, str]:
    """Keep the keys a VM may have in xenstore: vm-data and FIST."""
    return {k: v for k, v in data.items() if k.startswith(("vm-data/", "FIST/"))}


def featureset(view: View, row: Row) -> str:
    """Give the CPU features to boot with: the pool's for the kind of guest."""
    pool = next(iter(view.rows("pool")), None)
    if pool is None:
        return ""
    key = features_key(view, row)
    return str(pool.cpu_info.get(f"{key}_host") or pool.cpu_info.get(key, ""))


def _actions(value: str) -> list[str]:
    return [action.value for action in shutdown.actions_of(value)]


def vm_record(view: View, row: Row, host: Row | None, filtered: bool) -> dict[str, Value]:
    """Build the VM part of the metadata; sizes in bytes."""
    kind = memory.domain_type_of(row)
    limits = memory.coerced_for_start(memory.limits_of(row))
    platform = sanitised_platform(platform_for_start(row), filtered)
    host_params: Mapping[str, str] = host.guest_VCPUs_params if host is not None else {}
    scheduling = vcpus.scheduling(row.VCPUs_params)
    return {
        "id": row.uuid,
        "name": row.name_label,
        "ty": _TY[kind],
        "hvm": hvm_options(view, row) if kind == "hvm" else {},
        "pv": pv_options(view, row) if kind != "hvm" else {},
        "memory_static_max": limits.static_max,
        "memory_dynamic_max": limits.dynamic_max,
        "memory_dynamic_min": limits.dynamic_min,
        "vcpu_max": row.VCPUs_max,
        "vcpus": row.VCPUs_at_startup,
        "xsdata": guest_xenstore(row.xenstore_data),
        "platformdata": {
            **platform,
            "timeoffset": timeoffset(view, row),
            "featureset": platform.get("featureset") or featureset(view, row),
        },
        "bios_strings": dict(bios.for_start(row.bios_strings)),
        "scheduler_params": {
            "weight": scheduling.weight,
            "cap": scheduling.cap,
            "affinity": [
                list(m) for m in vcpus.affinity(row.VCPUs_params, host_params, row.VCPUs_max)
            ],
        },
        "on_crash": _actions(row.actions_after_crash),
        "on_shutdown": _actions(row.actions_after_shutdown),
        "on_reboot": _actions(row.actions_after_reboot),
        "on_softreboot": _actions(row.actions_after_softreboot),
        "pci_msitranslate": not len(row.VGPUs) and row.other_config.get("msitranslate", "1") == "1",
        "has_vendor_device": row.has_vendor_device,
        "generation_id": row.generation_id or None,
    }


def vm_metadata(
    view: View, vm: str, host: str | None = None, *, platform_filter: bool = False
) -> dict[str, Value]:
    """Build what VM.import_metadata takes: vm, vbds, vifs and the rest.

    ``host`` is where it will run.  ``domains`` carries last_booted_record of a
    suspended VM.  Errors: INVALID_VALUE, MEMORY_CONSTRAINT_VIOLATION,
    ILLEGAL_VBD_DEVICE for records that cannot boot.  Cost: the VM's devices.
    """
    row = view.row("VM", vm)
    place = view.find("host", host) if host is not None else None
    return {
        "vm": vm_record(view, row, place, platform_filter),
        "vbds": vbd_records(view, row),
        "vifs": vif_records(view, row),
        "pcis": pci_records(view, row),
        "vgpus": [],
        "vusbs": [],
        "domains": (row.last_booted_record or None) if row.power_state == "Suspended" else None,
    }


def pci_records(view: View, row: Row) -> list[dict[str, Value]]:
    """Build the passed-through PCI functions: other_config:pci, ``n/dddd:bb:dd.f,...``."""
    found = []
    for part in row.other_config.get("pci", "").split(","):
        number, _, address = part.strip().partition("/")
        if address:
            found.append({"device": f"{number}_{address}", "address": address, "options": {}})
    return found


def domain_type_of_policy(policy: str) -> str:
    """Give the domain type that goes with an HVM_boot_policy."""
    return "hvm" if policy else "pv"


def policy_of_domain_type(domain_type: str) -> str:
    """Give the HVM_boot_policy that goes with a domain type."""
    return "BIOS order" if domain_type == "hvm" else ""
