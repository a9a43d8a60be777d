"""Settings of VMs whose change is checked, or reaches a second field."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.operations import check
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan import bios, boot
from xapi_py.plan.operations.vm import is_default_template, is_hvm

RESTART_PRIORITIES = ("", "restart", "best-effort")


def _store(call: Call, vm: Ref, **values: Any) -> None:
    call.db.row("VM", vm)
    with call.db.transaction() as tx:
        tx.update("VM", vm, **values)


def _non_negative(name: str, value: int) -> None:
    if value < 0:
        raise err.INVALID_VALUE(f"{name} must be non-negative", str(value))


@message("VM.set_is_a_template")
def set_is_a_template(call: Call, self: Ref, value: bool) -> None:
    """Make a halted VM a template, or a template a VM.

    Errors: those of ``make_into_template``.
    """
    row = call.db.row("VM", self)
    if value and not row.is_a_template:
        check(call, ("VM", self, "make_into_template"))
        _store(call, self, is_a_template=True, ha_always_run=False, ha_restart_priority="")
        return
    _store(call, self, is_a_template=value)


@message("VM.set_is_default_template")
def set_is_default_template(call: Call, vm: Ref, value: bool) -> None:
    """Mark a template as built in, or not; the key of old clients follows."""
    config = {
        k: v for k, v in call.db.row("VM", vm).other_config.items() if k != "default_template"
    }
    if value:
        config["default_template"] = "true"
    _store(call, vm, is_default_template=value, other_config=config)


@message("VM.set_actions_after_crash")
def set_actions_after_crash(call: Call, self: Ref, value: str) -> None:
    """Set what follows a crash."""
    _store(call, self, actions_after_crash=value)


@message("VM.set_HVM_boot_policy")
def set_hvm_boot_policy(call: Call, self: Ref, value: str) -> None:
    """Set how the VM boots; the domain type follows."""
    _store(call, self, HVM_boot_policy=value, domain_type=boot.domain_type_of_policy(value))


@message("VM.set_domain_type")
def set_domain_type(call: Call, self: Ref, value: str) -> None:
    """Set the kind of domain; the boot policy follows."""
    row = call.db.row("VM", self)
    if value == "unspecified":
        value = "hvm" if is_hvm(call.db, row) else "pv"
    _store(call, self, domain_type=value, HVM_boot_policy=boot.policy_of_domain_type(value))


@message("VM.set_ha_restart_priority")
def set_ha_restart_priority(call: Call, self: Ref, value: str) -> None:
    """Set what high availability does for the VM.  Errors: INVALID_VALUE."""
    call.db.row("VM", self)
    if value not in RESTART_PRIORITIES:
        raise err.INVALID_VALUE("ha_restart_priority", value)
    live = call.db.row("VM", self).power_state in ("Running", "Paused")
    _store(call, self, ha_restart_priority=value, ha_always_run=value == "restart" and live)


@message("VM.set_ha_always_run")
def set_ha_always_run(call: Call, self: Ref, value: bool) -> None:
    """Set whether high availability keeps the VM running."""
    _store(call, self, ha_always_run=value)


@message("VM.set_start_delay")
def set_start_delay(call: Call, self: Ref, value: int) -> None:
    """Set the seconds a start waits at its end.  Errors: INVALID_VALUE."""
    _non_negative("start_delay", value)
    _store(call, self, start_delay=value)


@message("VM.set_shutdown_delay")
def set_shutdown_delay(call: Call, self: Ref, value: int) -> None:
    """Set the seconds a shutdown waits.  Errors: INVALID_VALUE."""
    _non_negative("shutdown_delay", value)
    _store(call, self, shutdown_delay=value)


@message("VM.set_order")
def set_order(call: Call, self: Ref, value: int) -> None:
    """Set the place in the order of the appliance.  Errors: INVALID_VALUE."""
    _non_negative("order", value)
    _store(call, self, order=value)


@message("VM.set_has_vendor_device")
def set_has_vendor_device(call: Call, self: Ref, value: bool) -> None:
    """Set whether Windows guests get drivers by themselves; for the next start.

    Errors: VM_BAD_POWER_STATE unless Halted.
    """
    row = call.db.row("VM", self)
    if row.power_state != "Halted":
        raise err.VM_BAD_POWER_STATE(self, "halted", row.power_state.lower())
    _store(call, self, has_vendor_device=value)


@message("VM.set_bios_strings")
def set_bios_strings(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Set the BIOS strings once.

    Errors: VM_BIOS_STRINGS_ALREADY_SET, INVALID_VALUE.
    """
    problem = bios.setting_error(call.db.row("VM", self).bios_strings, value)
    if problem is not None:
        raise problem
    _store(call, self, bios_strings=bios.completed(value))


@message("VM.copy_bios_strings")
def copy_bios_strings(call: Call, vm: Ref, host: Ref) -> None:
    """Take over the BIOS strings of a host, and stay near it.

    Errors: VM_BIOS_STRINGS_ALREADY_SET.
    """
    row = call.db.row("VM", vm)
    source = call.db.row("host", host)
    if row.bios_strings:
        raise err.VM_BIOS_STRINGS_ALREADY_SET()
    _store(call, vm, bios_strings=dict(source.bios_strings), affinity=host)


@message("VM.set_appliance")
def set_appliance(call: Call, self: Ref, value: Ref) -> None:
    """Put the VM into an appliance, or out of its own.

    Errors: OPERATION_NOT_ALLOWED for control domains, VM_IS_TEMPLATE,
    VM_IS_SNAPSHOT.
    """
    row = call.db.row("VM", self)
    if value != NULL_REF:
        call.db.row("VM_appliance", value)
        if row.is_control_domain:
            raise err.OPERATION_NOT_ALLOWED("Control domains cannot be assigned to appliances.")
        if row.is_a_snapshot:
            raise err.OPERATION_NOT_ALLOWED("Snapshots cannot be assigned to appliances.")
        if row.is_a_template:
            raise err.OPERATION_NOT_ALLOWED("Templates cannot be assigned to appliances.")
    _store(call, self, appliance=value)


@message("VM.set_groups")
def set_groups(call: Call, self: Ref, value: tuple[Ref, ...]) -> None:
    """Put the VM into a placement group; at most one.  Errors: TOO_MANY_GROUPS."""
    row = call.db.row("VM", self)
    for group in value:
        call.db.row("VM_group", group)
    if row.is_control_domain or row.is_a_template or row.is_a_snapshot:
        raise err.OPERATION_NOT_ALLOWED("Only VMs can be assigned to groups.")
    if len(value) > 1:
        raise err.TOO_MANY_GROUPS()
    _store(call, self, groups=tuple(value))


@message("VM.set_snapshot_schedule")
def set_snapshot_schedule(call: Call, self: Ref, value: Ref) -> None:
    """Have the VM snapshotted by a schedule, or by none."""
    row = call.db.row("VM", self)
    if value != NULL_REF:
        call.db.row("VMSS", value)
        if row.is_control_domain:
            raise err.INVALID_VALUE("snapshot_schedule", value)
        if row.is_a_template:
            raise err.VM_IS_TEMPLATE(self)
    _store(call, self, snapshot_schedule=value)


@message("VM.set_blocked_operations")
def set_blocked_operations(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Forbid operations, each with the text its callers get."""
    _store(call, self, blocked_operations=value)


@message("VM.add_to_blocked_operations")
def add_to_blocked_operations(call: Call, self: Ref, key: str, value: str) -> None:
    """Forbid one more operation.  Errors: MAP_DUPLICATE_KEY."""
    _add(call, self, "blocked_operations", key, value)


@message("VM.remove_from_blocked_operations")
def remove_from_blocked_operations(call: Call, self: Ref, key: str) -> None:
    """Allow an operation again."""
    _remove(call, self, "blocked_operations", key)


def _add(call: Call, vm: Ref, name: str, key: str, value: str) -> None:
    if key in getattr(call.db.row("VM", vm), name):
        raise err.MAP_DUPLICATE_KEY("VM", name, vm, key)
    with call.db.transaction() as tx:
        tx.add_to_map("VM", vm, name, key, value)


def _remove(call: Call, vm: Ref, name: str, key: str) -> None:
    call.db.row("VM", vm)
    with call.db.transaction() as tx:
        tx.remove_from_map("VM", vm, name, key)


@message("VM.set_other_config")
def set_other_config(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Replace other_config; the key of built-in templates follows the flag."""
    _store(call, self, other_config=_guarded(call, self, value))


@message("VM.add_to_other_config")
def add_to_other_config(call: Call, self: Ref, key: str, value: str) -> None:
    """Add a key.  Errors: MAP_DUPLICATE_KEY."""
    _add(call, self, "other_config", key, value)


@message("VM.remove_from_other_config")
def remove_from_other_config(call: Call, self: Ref, key: str) -> None:
    """Remove a key, if it is there."""
    _remove(call, self, "other_config", key)


def _guarded(call: Call, vm: Ref, value: dict[str, str]) -> dict[str, str]:
    row = call.db.row("VM", vm)
    if is_default_template(row) and row.is_default_template:
        return {**value, "default_template": "true"}
    return value


@message("VM.set_platform")
def set_platform(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Replace the platform flags; for the next start."""
    _store(call, self, platform=value)


@message("VM.add_to_platform")
def add_to_platform(call: Call, self: Ref, key: str, value: str) -> None:
    """Add a platform flag.  Errors: MAP_DUPLICATE_KEY."""
    _add(call, self, "platform", key, value)


@message("VM.remove_from_platform")
def remove_from_platform(call: Call, self: Ref, key: str) -> None:
    """Remove a platform flag, if it is there."""
    _remove(call, self, "platform", key)


@message("VM.set_NVRAM")
def set_nvram(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Replace the firmware's variables of a halted VM."""
    check(call, ("VM", self, "changing_NVRAM"))
    _store(call, self, NVRAM=value)


@message("VM.add_to_NVRAM")
def add_to_nvram(call: Call, self: Ref, key: str, value: str) -> None:
    """Add a firmware variable to a halted VM.  Errors: MAP_DUPLICATE_KEY."""
    check(call, ("VM", self, "changing_NVRAM"))
    _add(call, self, "NVRAM", key, value)


@message("VM.remove_from_NVRAM")
def remove_from_nvram(call: Call, self: Ref, key: str) -> None:
    """Remove a firmware variable from a halted VM."""
    check(call, ("VM", self, "changing_NVRAM"))
    _remove(call, self, "NVRAM", key)


@message("VM.set_NVRAM_EFI_variables")
def set_nvram_efi_variables(call: Call, self: Ref, value: str, update: str) -> None:
    """Store what the firmware of a running VM has written."""
    row = call.db.row("VM", self)
    _store(call, self, NVRAM={**row.NVRAM, "EFI-variables": value})
