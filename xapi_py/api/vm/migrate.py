"""Moving VMs between hosts and pools: what can be checked; moving comes later."""

from xapi_py.api.call import Call
from xapi_py.api.operations import check
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan import placement


@message("VM.pool_migrate")
async def pool_migrate(call: Call, vm: Ref, host: Ref, options: dict[str, str]) -> None:
    """Check a live migration within the pool.

    Errors: those of the VM's state and of the destination, then NOT_IMPLEMENTED.
    """
    row = call.db.row("VM", vm)
    check(call, ("VM", vm, "pool_migrate"))
    place = call.db.row("host", host)
    checks = placement.Checks(local_migration=row.resident_on == host)
    free = call.toolstack.reservations.free_bytes
    placement.assert_can_boot_here(call.db, row, place, free, checks)
    raise err.NOT_IMPLEMENTED("VM.pool_migrate")


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
    """Check a migration with storage.  Errors: the state's, then NOT_IMPLEMENTED."""
    check(call, ("VM", vm, "migrate_send"))
    raise err.NOT_IMPLEMENTED("VM.migrate_send")


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
    """Tell by the error why ``VM.migrate_send`` would fail."""
    check(call, ("VM", vm, "migrate_send"))
    raise err.NOT_IMPLEMENTED("VM.migrate_send")


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


@message("VM.import")
async def import_from_url(
    call: Call, url: str, sr: Ref, full_restore: bool, force: bool
) -> tuple[Ref, ...]:
    """Refuse: imports come by PUT /import.  Errors: NOT_IMPLEMENTED."""
    raise err.NOT_IMPLEMENTED("VM.import")
