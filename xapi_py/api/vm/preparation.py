"""What a start writes to the VM's record before its domain is made."""

from secrets import randbits

from xapi_py.api.call import Call
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.row import Row
from xapi_py.plan import bios, boot

BIOS_KEYS_7_1 = frozenset(
    {
        "bios-vendor", "bios-version", "system-manufacturer", "system-product-name",
        "system-version", "system-serial-number", "hp-rombios", "oem-1", "oem-2",
    }
)  # fmt: skip


def fresh_generation_id() -> str:
    """Make a generation id: two random signed 64 bit numbers."""
    return ":".join(str(randbits(64) - (1 << 63)) for _ in range(2))


def generic_bios_strings(profile: str) -> dict[str, str]:
    """Give the BIOS strings of a VM that has none of its own."""
    strings = dict(bios.GENERIC)
    if profile != "7.1":
        return strings
    return {key: value for key, value in strings.items() if key in BIOS_KEYS_7_1}


def prepare_start(call: Call, vm: Row, host: Ref) -> None:
    """Fill in device model, BIOS strings, generation id and CPU flags; one transaction.

    The last run's guest metrics go.
    """
    fields: dict[str, object] = {
        "platform": boot.platform_for_start(vm),
        "guest_metrics": NULL_REF,
        "last_boot_CPU_flags": {
            "vendor": call.db.row("host", host).cpu_info.get("vendor", ""),
            "features": boot.featureset(call.db, vm),
        },
    }
    if not vm.bios_strings:
        fields["bios_strings"] = generic_bios_strings(call.model.profile)
    if vm.generation_id == boot.GENERATION_FRESH:
        fields["generation_id"] = fresh_generation_id()
    if vm.ha_restart_priority == "restart":
        fields["ha_always_run"] = True
    if vm.has_vendor_device and vm.hardware_platform_version < 2:
        fields["hardware_platform_version"] = 2
    with call.db.transaction() as tx:
        if call.db.find("VM_guest_metrics", vm.guest_metrics) is not None:
            tx.delete("VM_guest_metrics", vm.guest_metrics)
        tx.update("VM", vm.ref, **fields)
