"""Smaller questions about a VM's record, its devices, blobs and recovery."""

from xapi_py.api.call import Call
from xapi_py.api.new_blob import named_blob
from xapi_py.api.operations import check
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.plan import devices, placement


@message("VM.get_allowed_VBD_devices")
def get_allowed_vbd_devices(call: Call, vm: Ref) -> tuple[str, ...]:
    """List the free values of VBD.userdevice."""
    return devices.allowed_vbd_devices(call.db, call.db.row("VM", vm))


@message("VM.get_allowed_VIF_devices")
def get_allowed_vif_devices(call: Call, vm: Ref) -> tuple[str, ...]:
    """List the free values of VIF.device: 7 in all in 7.1, else 16."""
    old = call.model.profile == "7.1"
    count = devices.VIFS_ALLOWED_7_1 if old else devices.VIFS_ALLOWED
    return devices.allowed_vif_devices(call.db, call.db.row("VM", vm), count)


@message("VM.get_boot_record")
def get_boot_record(call: Call, self: Ref) -> Row:
    """Give the record the VM was started with: its present one."""
    check(call, ("VM", self, "get_boot_record"))
    return call.db.row("VM", self)


@message("VM.create_new_blob")
def create_new_blob(call: Call, vm: Ref, name: str, mime_type: str, public: bool) -> Ref:
    """Make an empty blob of the VM.  Errors: MAP_DUPLICATE_KEY."""
    return named_blob(call, "VM", vm, name, mime_type, public)


@message("VM.get_SRs_required_for_recovery")
def get_srs_required_for_recovery(call: Call, self: Ref, session_to: Ref) -> tuple[str, ...]:
    """List the SRs that hold the VM's disks."""
    return placement.required_srs(call.db, call.db.row("VM", self))


@message("VM.assert_can_be_recovered")
def assert_can_be_recovered(call: Call, self: Ref, session_to: Ref) -> None:
    """Tell by the error which SR is missing.  Errors: VM_REQUIRES_SR."""
    row = call.db.row("VM", self)
    target = call.toolstack.db
    for sr in placement.required_srs(call.db, row):
        found = call.db.find("SR", sr)
        there = target.tables["SR"].uuids.get(found.uuid) if found is not None else None
        if there is None or not _attached(target, target.row("SR", there)):
            raise err.VM_REQUIRES_SR(self, sr)


def _attached(db: Database, sr: Row) -> bool:
    return any(db.row("PBD", pbd).currently_attached for pbd in sr.PBDs)


@message("VM.import_convert")
def import_convert(
    call: Call, type: str, username: str, password: str, sr: Ref, remote_config: dict[str, str]
) -> None:
    """Refuse: there is no conversion appliance.  Errors: NOT_IMPLEMENTED."""
    raise err.NOT_IMPLEMENTED("VM.import_convert")


@message("VM.set_uefi_mode")
def set_uefi_mode(call: Call, self: Ref, mode: str) -> str:
    """Refuse: no tool for UEFI variables is there.  Errors: NOT_IMPLEMENTED."""
    call.db.row("VM", self)
    raise err.NOT_IMPLEMENTED("VM.set_uefi_mode")


@message("VM.get_secureboot_readiness")
def get_secureboot_readiness(call: Call, self: Ref) -> str:
    """Tell whether secure boot would work: not without UEFI firmware."""
    row = call.db.row("VM", self)
    if row.HVM_boot_params.get("firmware") != "uefi":
        return "not_supported"
    if row.platform.get("secureboot") != "true":
        return "disabled"
    return "first_boot" if "EFI-variables" not in row.NVRAM else "ready"


@message("VM.update_secureboot_certificates_on_boot")
def update_secureboot_certificates_on_boot(call: Call, self: Ref, mark: bool) -> None:
    """Ask for new secure boot certificates at the next start, or no longer."""
    call.db.row("VM", self)
    state = "update_on_boot" if mark else "ok"
    with call.db.transaction() as tx:
        tx.set("VM", self, "secureboot_certificates_state", state)
