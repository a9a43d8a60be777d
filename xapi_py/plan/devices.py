"""VBDs and VIFs as the domain daemon gets them, and which device names are free."""

from collections.abc import Iterable, Mapping

from xapi_py.base.disk_names import FLOPPY, IDE, XEN, linux_name, parse_device
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.vm import is_hvm

MAX_VBD = 255
MAX_VBD_CONTROL = 256
VIFS_ALLOWED = 16
VIFS_ALLOWED_7_1 = 7
TIMESLICE_US = 50_000
_VBD_TYPES = {"CD": "CDROM", "Disk": "Disk", "Floppy": "Floppy"}

Value = object


def _rows(view: View, cls: str, refs: Iterable[str]) -> list[Row]:
    found = (view.find(cls, ref) for ref in refs)
    return [row for row in found if row is not None]


def _taken_disks(view: View, vm: Row) -> tuple[set[int], set[int]]:
    """Collect used disk and floppy numbers under both readings of each text."""
    disks: set[int] = set()
    floppies: set[int] = set()
    for vbd in _rows(view, "VBD", vm.VBDs):
        for text in (vbd.userdevice, vbd.device):
            for hvm in (True, False):
                position = parse_device(text, hvm)
                if position is None:
                    continue
                if position.bus == FLOPPY:
                    floppies.add(position.disk)
                else:
                    disks.add(position.disk)
    return disks, floppies


def allowed_vbd_devices(view: View, vm: Row) -> tuple[str, ...]:
    """List the free userdevice texts in order; cost is 255 and the VM's VBDs.

    The control domain has one more; floppies are offered to no one, since
    recorded servers list numbers only.
    """
    disks, _ = _taken_disks(view, vm)
    count = MAX_VBD_CONTROL if vm.is_control_domain else MAX_VBD
    return tuple(str(n) for n in range(count) if n not in disks)


def allowed_vif_devices(view: View, vm: Row, count: int = VIFS_ALLOWED) -> tuple[str, ...]:
    """List the free VIF devices in order."""
    taken = {vif.device for vif in _rows(view, "VIF", vm.VIFs)}
    return tuple(str(n) for n in range(count) if str(n) not in taken)


def autodetected(view: View, vm: Row) -> str:
    """Give the userdevice for ``autodetect``: one above the highest in use."""
    disks, _ = _taken_disks(view, vm)
    return str(max(disks, default=-1) + 1)


def userdevice_error(view: View, vm: Row, userdevice: str) -> ApiError | None:
    """Check a new VBD's userdevice.

    Errors: INVALID_DEVICE when unreadable or out of range,
    DEVICE_ALREADY_EXISTS when taken under either reading.
    """
    if userdevice == "autodetect":
        return None
    position = parse_device(userdevice, is_hvm(view, vm))
    limit = MAX_VBD_CONTROL if vm.is_control_domain else MAX_VBD
    if position is None or (position.bus in (XEN, IDE) and position.disk >= limit):
        return err.INVALID_DEVICE(userdevice)
    disks, floppies = _taken_disks(view, vm)
    taken = floppies if position.bus == FLOPPY else disks
    return err.DEVICE_ALREADY_EXISTS(userdevice) if position.disk in taken else None


def vif_device_error(view: View, vm: Row, device: str) -> ApiError | None:
    """Check a new VIF's device.

    Errors: INVALID_DEVICE unless a decimal number, DEVICE_ALREADY_EXISTS.
    """
    if not (device.isascii() and device.isdecimal()):
        return err.INVALID_DEVICE(device)
    if any(vif.device == device for vif in _rows(view, "VIF", vm.VIFs)):
        return err.DEVICE_ALREADY_EXISTS(device)
    return None


def vbd_name(view: View, vm: Row, vbd: Row) -> str:
    """Give the guest's name of a VBD, the id the daemon knows it by.

    Errors: ILLEGAL_VBD_DEVICE.
    """
    position = parse_device(vbd.userdevice, is_hvm(view, vm))
    if position is None:
        raise err.ILLEGAL_VBD_DEVICE(vbd.ref, vbd.userdevice)
    return linux_name(position)


def _vbd_backend_keys(vbd: Row) -> dict[str, str]:
    """Take the tunables a backend reads, dropping ones out of range."""
    keys = {}
    config: Mapping[str, str] = vbd.other_config
    if "backend-kind" in config:
        keys["backend-kind"] = config["backend-kind"]
    for name, low, high in (
        ("polling-duration", 0, None),
        ("polling-idle-threshold", 0, 100),
    ):
        text = config.get(name, "")
        if text.isdecimal() and int(text) >= low and (high is None or int(text) <= high):
            keys[name] = text
    return keys


def vbd_record(view: View, vm: Row, vbd: Row) -> dict[str, Value]:
    """Build one VBD of the metadata; an empty drive has no backend."""
    backend = None
    vdi = None if vbd.empty or vbd.VDI == NULL_REF else view.find("VDI", vbd.VDI)
    if vdi is not None:
        sr = view.row("SR", vdi.SR)
        backend = {"sr": sr.uuid, "vdi": vdi.uuid}
    qos: dict[str, str] = {}
    if vbd.qos_algorithm_type == "ionice":
        qos = {"type": "ionice", **vbd.qos_algorithm_params}
    return {
        "device": vbd_name(view, vm, vbd),
        "mode": vbd.mode,
        "ty": _VBD_TYPES[vbd.type],
        "backend": backend,
        "unpluggable": vbd.unpluggable,
        "persistent": vdi is None or vdi.on_boot != "reset",
        "extra_backend_keys": _vbd_backend_keys(vbd),
        "extra_private_keys": {"vbd-uuid": vbd.uuid},
        "qos": qos,
    }


def vbd_records(view: View, vm: Row) -> list[dict[str, Value]]:
    """Build the VBDs to plug at start: writable first; PV guests get no empty drive."""
    hvm = is_hvm(view, vm)
    vbds = [vbd for vbd in _rows(view, "VBD", vm.VBDs) if hvm or not vbd.empty]
    vbds.sort(key=lambda vbd: vbd.mode != "RW")
    return [vbd_record(view, vm, vbd) for vbd in vbds]


def _number(params: Mapping[str, str], key: str, default: int) -> int:
    text = params.get(key, "")
    return int(text) if text.isdecimal() else default


def effective_locking(vif: Row, network: Row | None) -> str:
    """Resolve network_default to the network's own default."""
    if vif.locking_mode == "network_default":
        return str(network.default_locking_mode) if network is not None else "unlocked"
    return str(vif.locking_mode)


def vif_mtu(vif: Row, network: Row | None) -> int:
    """Give the MTU: the VIF's other_config:mtu, else the network's."""
    fallback = int(network.MTU) if network is not None else 1500
    return _number(vif.other_config, "mtu", fallback) or 1500


def static_ip(vif: Row) -> dict[str, str]:
    found = {}
    if vif.ipv4_configuration_mode == "Static" and len(vif.ipv4_addresses):
        found = {"address": vif.ipv4_addresses[0], "gateway": vif.ipv4_gateway}
    if vif.ipv6_configuration_mode == "Static" and len(vif.ipv6_addresses):
        found |= {"address6": vif.ipv6_addresses[0], "gateway6": vif.ipv6_gateway}
    modes = {"None": "0", "Static": "1", "DHCP": "2", "Autoconf": "2"}
    return {
        "enabled": modes.get(vif.ipv4_configuration_mode, "0"),
        "enabled6": modes.get(vif.ipv6_configuration_mode, "0"),
        **found,
    }


def vif_record(view: View, vif: Row) -> dict[str, Value]:
    """Build one VIF of the metadata."""
    network = view.find("network", vif.network)
    locking = effective_locking(vif, network)
    limited = vif.qos_algorithm_type == "ratelimit"
    params: Mapping[str, str] = vif.qos_algorithm_params if limited else {}
    return {
        "device": vif.device,
        "mac": vif.MAC,
        "bridge": network.bridge if network is not None else "",
        "mtu": vif_mtu(vif, network),
        "carrier": locking != "disabled",
        "rate_kbps": _number(params, "kbps", 0),
        "rate_timeslice_us": _number(params, "timeslice_us", TIMESLICE_US),
        "locking_mode": locking,
        "ipv4_allowed": list(vif.ipv4_allowed),
        "ipv6_allowed": list(vif.ipv6_allowed),
        "trunks": list(vif.trunks),
        "other_config": dict(vif.other_config),
        "extra_private_keys": {
            "vif-uuid": vif.uuid,
            "network-uuid": network.uuid if network is not None else "",
        },
        "static_ip": static_ip(vif),
    }


def vif_records(view: View, vm: Row) -> list[dict[str, Value]]:
    """Build the VIFs in device order."""
    vifs = _rows(view, "VIF", vm.VIFs)
    vifs.sort(key=lambda vif: (len(vif.device), vif.device))
    return [vif_record(view, vif) for vif in vifs]
