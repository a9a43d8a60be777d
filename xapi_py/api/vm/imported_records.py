"""The records of an import, made in one transaction."""

from collections.abc import Mapping
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.vm import copying, disks
from xapi_py.api.vm.preparation import fresh_generation_id
from xapi_py.base.names import NULL_REF, Ref, new_uuid
from xapi_py.db.transaction import Transaction
from xapi_py.plan import boot, mac, snapshot
from xapi_py.plan.importing import ImportChoice, ImportPlan, Piece

IMPORT_TASK = "import_task"
"""Key of other_config: XenCenter finds what an import made by its task."""

_VM_KEPT = (
    *snapshot.COPIED,
    *("name_label", "is_a_snapshot", "snapshot_time", "snapshot_info", "snapshot_metadata"),
    *("transportable_snapshot_id", "power_state", "last_booted_record", "generation_id"),
)
_VM_REFERENCES = ("affinity", "suspend_VDI", "suspend_SR", "guest_metrics")
_NETWORK_KEPT = ("name_label", "name_description", "MTU", "default_locking_mode")


def write(
    call: Call, choice: ImportChoice, plan: ImportPlan, made: Mapping[str, Ref]
) -> tuple[Ref, ...]:
    """Make all records and give the VMs; disks stop being pending.

    A dry run gives the VMs' places as null references and makes nothing.
    """
    if choice.dry_run:
        return tuple(NULL_REF for _ in plan.vms)
    with call.db.transaction() as tx:
        writer = _Writer(call, tx, choice, {**plan.known, **made})
        for id_, old in plan.replaced.items():
            writer.replace(id_, old)
        for piece in plan.pieces():
            writer.make(piece)
        writer.link(plan.vms)
        disks.keep(tx, made.values())
        return tuple(writer.refs[piece.id] for piece in plan.vms)


class _Writer:
    def __init__(
        self, call: Call, tx: Transaction, choice: ImportChoice, refs: dict[str, Ref]
    ) -> None:
        self._call = call
        self._db = call.db
        self._tx = tx
        self._choice = choice
        self._replaced: dict[str, Ref] = {}
        self._seeds: dict[str, str] = {}
        self.refs = refs

    def replace(self, id_: str, old: Ref) -> None:
        """Remove the VM that another one takes the place of; its disks stay."""
        row = self._db.row("VM", old)
        for child, parent in snapshot.destroyed_parents(row).items():
            self._tx.set("VM", child, "parent", parent)
        copying.remove_devices(self._call, self._tx, row)
        for cls, ref in (("VM_metrics", row.metrics), ("VM_guest_metrics", row.guest_metrics)):
            if self._db.find(cls, ref) is not None:
                self._tx.delete(cls, ref)
        self._tx.delete("VM", old)
        self._replaced[id_] = old

    def make(self, piece: Piece) -> None:
        """Make one record."""
        match piece.cls:
            case "network":
                ref = self._network(piece)
            case "VM":
                ref = self._vm(piece)
            case "VBD":
                ref = self._vbd(piece)
            case "VIF":
                ref = self._vif(piece)
            case _:
                ref = self._tx.create(piece.cls, self._own_columns(piece))
        self.refs[piece.id] = ref

    def _own_columns(self, piece: Piece) -> dict[str, Any]:
        names = set(self._db.tables[piece.cls].columns) - copying.OBJECT_IDENTITY
        return {name: value for name, value in piece.fields.items() if name in names}

    def _network(self, piece: Piece) -> Ref:
        fields = _kept(piece, _NETWORK_KEPT)
        fields["other_config"] = self._marked(piece)
        fields["bridge"] = self._free_bridge()
        return self._tx.create("network", fields)

    def _free_bridge(self) -> str:
        used = {row.bridge for row in self._db.rows("network")}
        return next(name for n in range(len(used) + 1) if (name := f"xapi{n}") not in used)

    def _marked(self, piece: Piece) -> dict[str, str]:
        config: dict[str, str] = dict(piece.fields.get("other_config", {}))
        return {**config, IMPORT_TASK: self._call.task}

    def _uuid(self, cls: str, piece: Piece) -> str:
        """Keep the uuid in a restore if nothing has it."""
        wanted = str(piece.fields.get("uuid", ""))
        if self._choice.restore and wanted and wanted not in self._db.tables[cls].uuids:
            return wanted
        return new_uuid()

    def _vm(self, piece: Piece) -> Ref:
        fields = _kept(piece, _VM_KEPT)
        for name in _VM_REFERENCES:
            fields[name] = self.refs.get(str(piece.fields.get(name, "")), NULL_REF)
        config = self._marked(piece)
        if not self._choice.restore:
            config["mac_seed"] = new_uuid()
        self._seeds[piece.id] = config.setdefault("mac_seed", new_uuid())
        fields["other_config"] = config
        if fields.get("generation_id"):
            fields["generation_id"] = fresh_generation_id()
        fields["version"] = piece.fields.get("version", 0) + 1 if self._choice.restore else 0
        fields.setdefault("power_state", "Halted")
        if fields.get("domain_type", "unspecified") == "unspecified":
            policy = str(fields.get("HVM_boot_policy", ""))
            fields["domain_type"] = boot.domain_type_of_policy(policy)
        none = {"domid": -1, "snapshot_of": NULL_REF, "parent": NULL_REF, "resident_on": NULL_REF}
        metrics = self._tx.create("VM_metrics", {})
        own = {"uuid": self._uuid("VM", piece), "metrics": metrics}
        return self._tx.create("VM", {**fields, **none, **own})

    def _vbd(self, piece: Piece) -> Ref:
        fields = _kept(piece, snapshot.VBD_COPIED)
        fields["VM"] = self.refs[piece.fields["VM"]]
        fields["VDI"] = self.refs.get(str(piece.fields.get("VDI", "")), NULL_REF)
        fields["empty"] = fields["VDI"] == NULL_REF
        fields["uuid"] = self._uuid("VBD", piece)
        fields["metrics"] = self._tx.create("VBD_metrics", {})
        return self._tx.create("VBD", fields)

    def _vif(self, piece: Piece) -> Ref:
        fields = _kept(piece, snapshot.VIF_COPIED)
        vm_id = piece.fields["VM"]
        fields["VM"] = self.refs[vm_id]
        fields["network"] = self.refs[piece.fields["network"]]
        fields["uuid"] = self._uuid("VIF", piece)
        fields["metrics"] = self._tx.create("VIF_metrics", {})
        fields["MAC"] = str(piece.fields.get("MAC", "")) if self._choice.restore else ""
        fields["MAC_autogenerated"] = bool(piece.fields.get("MAC_autogenerated", False))
        if not fields["MAC"]:
            device = str(fields.get("device", "0"))
            number = int(device) if device.isdecimal() else 0
            fields["MAC"] = mac.mac_of_seed(self._seeds[vm_id], number)
            fields["MAC_autogenerated"] = True
        return self._tx.create("VIF", fields)

    def link(self, vms: list[Piece]) -> None:
        """Put the snapshot links in place; those to replaced VMs go to the new ones."""
        for piece in vms:
            ref = self.refs[piece.id]
            for name in ("snapshot_of", "parent"):
                target = self.refs.get(str(piece.fields.get(name, "")))
                if target is not None:
                    self._tx.set("VM", ref, name, target)
            old = self._replaced.get(piece.id)
            if old is not None:
                for row in list(self._db.rows("VM")):
                    if row.snapshot_of == old:
                        self._tx.set("VM", row.ref, "snapshot_of", ref)


def _kept(piece: Piece, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: piece.fields[name] for name in names if name in piece.fields}
