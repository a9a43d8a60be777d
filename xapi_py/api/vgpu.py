"""Messages of class VGPU: virtual or whole graphics cards of VMs."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err


@message("VGPU.create")
def create(
    call: Call,
    VM: Ref,  # noqa: N803
    GPU_group: Ref,  # noqa: N803
    device: str,
    other_config: dict[str, str],
    type: Ref,
) -> Ref:
    """Give a halted VM a graphics card; no type means a whole one.

    Errors: VM_BAD_POWER_STATE, INVALID_DEVICE, VGPU_TYPE_NOT_COMPATIBLE for a
    second card.
    """
    vm = call.db.row("VM", VM)
    if vm.power_state != "Halted":
        raise err.VM_BAD_POWER_STATE(VM, "halted", vm.power_state.lower())
    if not (device.isascii() and device.isdecimal()):
        raise err.INVALID_DEVICE(device)
    chosen = type if type not in ("", NULL_REF) else _passthrough(call)
    if len(vm.VGPUs):
        raise err.VGPU_TYPE_NOT_COMPATIBLE(chosen)
    with call.db.transaction() as tx:
        return tx.create(
            "VGPU",
            {
                "VM": VM,
                "GPU_group": GPU_group,
                "device": device,
                "other_config": other_config,
                "type": chosen if chosen != NULL_REF else _make_passthrough(call),
            },
        )


def _passthrough(call: Call) -> Ref:
    for row in call.db.rows("VGPU_type"):
        if row.implementation == "passthrough":
            return row.ref
    return NULL_REF


def _make_passthrough(call: Call) -> Ref:
    with call.db.transaction() as tx:
        fields = {"vendor_name": "", "model_name": "passthrough", "implementation": "passthrough"}
        return tx.create("VGPU_type", fields)


@message("VGPU.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Take the card from a halted VM.  Errors: OPERATION_NOT_ALLOWED."""
    row = call.db.row("VGPU", self)
    vm = call.db.find("VM", row.VM)
    if vm is not None and vm.power_state not in ("Halted", "Suspended"):
        raise err.OPERATION_NOT_ALLOWED("vGPU cannot be destroyed while VM is running")
    with call.db.transaction() as tx:
        tx.delete("VGPU", self)


@message("VGPU.atomic_set_resident_on")
def atomic_set_resident_on(call: Call, self: Ref, value: Ref) -> None:
    """Move the card's residence on behalf of another server of the pool."""
    call.db.row("VGPU", self)
    with call.db.transaction() as tx:
        tx.update("VGPU", self, resident_on=value, scheduled_to_be_resident_on=NULL_REF)
