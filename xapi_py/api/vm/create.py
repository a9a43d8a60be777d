"""VM.create and VM.destroy."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.operations import check
from xapi_py.api.registry import message
from xapi_py.api.vm import copying
from xapi_py.base.names import NULL_REF, Ref, new_uuid
from xapi_py.datamodel import errors as err
from xapi_py.plan import boot, snapshot

_SUSPENDED_NEEDS = ("suspend_VDI", "last_booted_record", "last_boot_CPU_flags")


@message("VM.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    """Make a VM; almost nothing is checked before it is started.

    ``power_state`` may be Suspended when its image is given; any other counts as
    Halted.  References may point at nothing.  Errors: VM_BAD_POWER_STATE.
    """
    fields = constructor_fields(call, "VM", args, references=False)
    state = fields.get("power_state", "Halted")
    suspended = state == "Suspended" and all(
        fields.get(name) not in (None, "", NULL_REF, {}) for name in _SUSPENDED_NEEDS
    )
    if state == "Suspended" and not suspended:
        raise err.VM_BAD_POWER_STATE(Ref(f"OpaqueRef:{new_uuid()}"), "halted", "suspended")
    fields["power_state"] = "Suspended" if suspended else "Halted"
    if fields.get("domain_type", "unspecified") == "unspecified":
        fields["domain_type"] = boot.domain_type_of_policy(fields["HVM_boot_policy"])
    else:
        fields["HVM_boot_policy"] = boot.policy_of_domain_type(fields["domain_type"])
    fields["other_config"] = {"mac_seed": new_uuid(), **fields["other_config"]}
    with call.db.transaction() as tx:
        metrics = tx.create("VM_metrics", {})
        none = {"domid": -1, "snapshot_of": NULL_REF, "parent": NULL_REF}
        return tx.create("VM", {**fields, **none, "metrics": metrics})


@message("VM.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a VM and its device records; its disks stay.

    Snapshots below it move up in the tree.  Errors: those of the state,
    VM_IS_TEMPLATE for built-in templates.
    """
    row = call.db.row("VM", self)
    check(call, ("VM", self, "destroy"))
    with call.db.transaction() as tx:
        for child, parent in snapshot.destroyed_parents(row).items():
            tx.set("VM", child, "parent", parent)
        copying.remove_devices(call, tx, row)
        for console in tuple(row.consoles):
            tx.delete("console", console)
        for dump in tuple(row.crash_dumps):
            tx.delete("crashdump", dump)
        for blob in row.blobs.values():
            if call.db.find("blob", blob) is not None:
                tx.delete("blob", blob)
        for cls, ref in (("VM_metrics", row.metrics), ("VM_guest_metrics", row.guest_metrics)):
            if call.db.find(cls, ref) is not None:
                tx.delete(cls, ref)
        tx.delete("VM", self)
