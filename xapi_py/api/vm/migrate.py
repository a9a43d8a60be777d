"""Moving running VMs, and the disks of VMs, within one host.

Moving to another host or another pool is not there: what needs it is refused.
"""

from collections.abc import Mapping

from xapi_py.api.call import Call
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm import storage_motion
from xapi_py.api.vm.domain import alert, home, xenops
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import boot, events_text, placement


@message("VM.pool_migrate")
async def pool_migrate(call: Call, vm: Ref, host: Ref, options: dict[str, str]) -> None:
    """Move a running VM to a host of the pool: to a new domain, so far of its own host.

    Errors: those of the VM's state and of the destination, then NOT_IMPLEMENTED
    for another host.
    """
    row = call.db.row("VM", vm)
    check(call, ("VM", vm, "pool_migrate"))
    place = call.db.row("host", host)
    checks = placement.Checks(local_migration=row.resident_on == host)
    free = call.toolstack.reservations.free_bytes
    placement.assert_can_boot_here(call.db, row, place, free, checks)
    if row.resident_on != host:
        raise err.NOT_IMPLEMENTED("VM.pool_migrate to another host")
    async with operation(call, ("VM", vm, "pool_migrate")):
        call.allow_cancel()
        md = boot.vm_metadata(call.db, vm, host)
        await xenops(call, home(row), "VM.migrate", {"id": row.uuid, "md": md}, vm=vm)
    alert(call, "VM_MIGRATED", row, events_text.migrated(row, place, place))


@message("VM.pool_migrate_complete")
def pool_migrate_complete(call: Call, vm: Ref, host: Ref) -> None:
    """Adopt a VM that arrived; nothing arrives yet.  Errors: NOT_IMPLEMENTED."""
    call.db.row("VM", vm)
    raise err.NOT_IMPLEMENTED("VM.pool_migrate_complete")


@message("VM.migrate_send")
async def migrate_send(
    call: Call,
    vm: Ref,
    dest: dict[str, str],
    live: bool,
    vdi_map: dict[Ref, Ref],
    vif_map: dict[Ref, Ref],
    options: dict[str, str],
    vgpu_map: dict[Ref, Ref] | None = None,
    vdi_format_map: dict[Ref, str] | None = None,
) -> Ref:
    """Move disks of a VM to other SRs while it runs or not; gives the VM.

    ``vdi_map`` tells where which disk goes, ``vif_map`` which network a device
    is put on; what is not named stays.  Errors: as ``VM.assert_can_migrate``,
    those of the storage.
    """
    row = call.db.row("VM", vm)
    _check_move(call, row, dest, vdi_map, vif_map)
    wanted = storage_motion.Motion(row, vdi_map, vif_map)
    async with operation(call, ("VM", vm, "migrate_send")):
        call.allow_cancel()
        await storage_motion.carry_out(call, wanted)
    return vm


@message("VM.assert_can_migrate")
async def assert_can_migrate(
    call: Call,
    vm: Ref,
    dest: dict[str, str],
    live: bool,
    vdi_map: dict[Ref, Ref],
    vif_map: dict[Ref, Ref],
    options: dict[str, str],
    vgpu_map: dict[Ref, Ref] | None = None,
) -> None:
    """Tell by the error why ``VM.migrate_send`` would fail.

    Errors: those of the VM's state, INVALID_VALUE for a destination without a
    host, NOT_IMPLEMENTED for another host, VDI_NOT_IN_MAP for a disk that is
    not the VM's, HANDLE_INVALID, SR_HAS_NO_PBDS.
    """
    _check_move(call, call.db.row("VM", vm), dest, vdi_map, vif_map)


def _check_move(
    call: Call,
    vm: Row,
    dest: Mapping[str, str],
    vdi_map: Mapping[Ref, Ref],
    vif_map: Mapping[Ref, Ref],
) -> None:
    check(call, ("VM", Ref(vm.ref), "migrate_send"))
    host = dest.get("host", "")
    if not host:
        raise err.INVALID_VALUE("dest", "no host is named")
    here = vm.resident_on if vm.resident_on != NULL_REF else call.toolstack.localhost
    if call.db.find("host", host) is None or host != here:
        raise err.NOT_IMPLEMENTED("VM.migrate_send to another host")
    storage_motion.check_maps(call, vm, vdi_map, vif_map)


@message("VM.assert_can_migrate_sender")
async def assert_can_migrate_sender(
    call: Call,
    vm: Ref,
    dest: dict[str, str],
    live: bool,
    vdi_map: dict[Ref, Ref],
    vif_map: dict[Ref, Ref],
    vgpu_map: dict[Ref, Ref],
    options: dict[str, str],
) -> None:
    """Tell by the error why ``VM.migrate_send`` would fail on this side."""
    check(call, ("VM", vm, "migrate_send"))
