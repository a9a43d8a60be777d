"""VM.provision: from a template with a wish for disks to a VM that has them."""

from xapi_py.api.call import Call
from xapi_py.api.operations import operation
from xapi_py.api.registry import message
from xapi_py.api.vm import disks
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.plan import provision


@message("VM.provision")
async def provision_vm(call: Call, vm: Ref) -> None:
    """Make the disks of other_config:disks and turn the template into a VM.

    Errors: PROVISION_ONLY_ALLOWED_ON_TEMPLATE, DEFAULT_SR_NOT_FOUND, UUID_INVALID.
    """
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "provision")):
        specs = provision.parse_disks(row.other_config.get("disks", ""))
        places = [_sr(call, spec) for spec in specs]
        async with Undo() as undo:
            made = []
            for number, (spec, sr) in enumerate(zip(specs, places, strict=True)):
                record: dict[str, object] = {
                    "name_label": f"{row.name_label} {spec.device}",
                    "name_description": "Created by template provisioner",
                    "SR": sr,
                    "virtual_size": spec.size_bytes,
                    "type": spec.type,
                }
                made.append(await disks.create(call, undo, record))
                call.progress(0.9 * (number + 1) / len(specs))
            with call.db.transaction() as tx:
                for spec, vdi in zip(specs, made, strict=True):
                    tx.create(
                        "VBD",
                        {
                            "VM": vm,
                            "VDI": vdi,
                            "userdevice": spec.device,
                            "bootable": spec.bootable,
                            "mode": "RW",
                            "type": "Disk",
                            "unpluggable": True,
                            "empty": False,
                            "other_config": {"owner": "true"},
                            "metrics": tx.create("VBD_metrics", {}),
                        },
                    )
                tx.update(
                    "VM",
                    vm,
                    is_a_template=False,
                    other_config=provision.without_install_keys(row.other_config),
                )
                _note_install_time(call, vm)
                disks.keep(tx, made)


def _note_install_time(call: Call, vm: Ref) -> None:
    metrics = call.db.row("VM", vm).metrics
    if call.db.find("VM_metrics", metrics) is not None:
        with call.db.transaction() as tx:
            tx.set("VM_metrics", metrics, "install_time", call.now())


def _sr(call: Call, spec: provision.DiskSpec) -> Ref:
    """Find where a disk goes: the SR it names by uuid, else the pool's default."""
    if spec.sr:
        return call.db.by_uuid("SR", spec.sr)
    default = call.db.row("pool", call.toolstack.pool).default_SR
    if default in ("", NULL_REF) or call.db.find("SR", default) is None:
        raise err.DEFAULT_SR_NOT_FOUND(default or NULL_REF)
    return Ref(default)
