"""What an import of VMs makes, finds and replaces; nothing is changed here.

An import is *full*, with the data of disks, or of metadata only.  A full one
makes new disks in the chosen SR; the other one looks for the disks by SR and
location.  With ``restore`` VMs keep uuid, MAC seed and addresses, and take
the place of a halted VM of the same uuid.  Networks are found by name, then by
bridge, and made otherwise.  Sources: brief STORAGE 5.1; xapi-project/xen-api,
doc (VM import/export).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ocaml_compat.xva import EXPORT_VERSION, Exported, Manifest
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import Model
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.exporting import api_version
from xapi_py.plan.imported_values import Fields, fields_of

_VDI_FIELDS = (
    *("name_label", "name_description", "virtual_size", "type", "sharable", "read_only"),
    *("other_config", "xenstore_data", "sm_config", "tags"),
)
_ISO = "iso"


@dataclass(frozen=True, slots=True)
class ImportChoice:
    """What the client asked for; ``sr`` takes the disks of a full import."""

    full: bool
    sr: Ref = NULL_REF
    restore: bool = False
    force: bool = False
    dry_run: bool = False
    disks: Mapping[str, str] = field(default_factory=dict)
    """uuid in the export to uuid here, for imports of metadata."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A record to make; references in ``fields`` are still those of the export."""

    cls: str
    id: str
    fields: Fields


@dataclass(slots=True)
class ImportPlan:
    """What to make, in this order: disks, networks, VMs, devices.

    ``known`` maps references of the export to objects that are here already;
    ``replaced`` maps a VM of the export to the one it takes the place of.
    """

    known: dict[str, Ref] = field(default_factory=dict)
    disks: list[Piece] = field(default_factory=list)
    networks: list[Piece] = field(default_factory=list)
    guest_metrics: list[Piece] = field(default_factory=list)
    vms: list[Piece] = field(default_factory=list)
    devices: list[Piece] = field(default_factory=list)
    replaced: dict[str, Ref] = field(default_factory=dict)

    def pieces(self) -> list[Piece]:
        """List everything but disks, in the order it is to be made in."""
        return [*self.networks, *self.guest_metrics, *self.vms, *self.devices]


def check_version(host: Row, manifest: Manifest) -> None:
    """Refuse what a newer release wrote.  Errors: IMPORT_INCOMPATIBLE_VERSION."""
    version = manifest.version
    if version.export > EXPORT_VERSION or version.xapi > api_version(host):
        raise err.IMPORT_INCOMPATIBLE_VERSION()


def plan_import(
    view: View, model: Model, objects: Sequence[Exported], choice: ImportChoice
) -> ImportPlan:
    """Compare an export with what is here.

    Errors: IMPORT_ERROR for records that make no sense,
    IMPORT_ERROR_FAILED_TO_FIND_OBJECT, IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND,
    VDI_LOCATION_MISSING, VDI_CONTENT_ID_MISSING, VM_BAD_POWER_STATE,
    VM_TO_IMPORT_IS_NOT_NEWER_VERSION, DUPLICATE_VM.
    """
    return _Planner(view, model, objects, choice).plan()


class _Planner:
    def __init__(
        self, view: View, model: Model, objects: Sequence[Exported], choice: ImportChoice
    ) -> None:
        self._view = view
        self._choice = choice
        self._out = ImportPlan()
        self._pieces: dict[str, list[Piece]] = {}
        self._by_id: dict[str, Piece] = {}
        for item in objects:
            if item.cls in model.classes:
                piece = Piece(item.cls, item.id, fields_of(model, item.cls, item.snapshot))
                self._pieces.setdefault(item.cls, []).append(piece)
                self._by_id[item.id] = piece

    def plan(self) -> ImportPlan:
        for piece in self._of("host"):
            self._know(piece.id, self._uuid("host", piece.fields.get("uuid", "")))
        for piece in self._of("SR"):
            self._sr(piece)
        for piece in self._of("VDI"):
            self._vdi(piece)
        for piece in self._of("VM_guest_metrics"):
            self._out.guest_metrics.append(piece)
        for piece in self._of("VM"):
            self._vm(piece)
        if self._choice.restore:
            self._check_seeds()
        for piece in self._of("network"):
            self._network(piece)
        made = {piece.id for piece in self._out.vms}
        for piece in self._of("VBD"):
            if piece.fields.get("VM") in made:
                self._vbd(piece)
        for piece in self._of("VIF"):
            if piece.fields.get("VM") in made:
                self._needed(piece, "network")
                self._out.devices.append(piece)
        return self._out

    def _of(self, cls: str) -> list[Piece]:
        return self._pieces.get(cls, [])

    def _know(self, id_: str, ref: Ref | None) -> None:
        if ref is not None:
            self._out.known[id_] = ref

    def _uuid(self, cls: str, uuid: str) -> Ref | None:
        try:
            return self._view.by_uuid(cls, uuid)
        except ApiError:
            return None

    def _needed(self, piece: Piece, name: str) -> Piece:
        id_ = piece.fields.get(name, "")
        if id_ not in self._by_id:
            raise err.IMPORT_ERROR_FAILED_TO_FIND_OBJECT(id_)
        return self._by_id[id_]

    def _sr(self, piece: Piece) -> None:
        if not self._choice.full:
            self._know(piece.id, self._uuid("SR", piece.fields.get("uuid", "")))
        elif piece.fields.get("content_type") != _ISO:
            self._out.known[piece.id] = self._choice.sr

    def _vdi(self, piece: Piece) -> None:
        fields = piece.fields
        sr = self._needed(piece, "SR")
        if sr.fields.get("content_type") == _ISO:
            self._know(piece.id, self._iso(str(fields.get("location", ""))))
        elif self._choice.full:
            record = {name: fields[name] for name in _VDI_FIELDS if name in fields}
            record["SR"] = self._choice.sr
            self._out.disks.append(Piece("VDI", piece.id, record))
        else:
            self._find_disk(piece, sr)

    def _iso(self, location: str) -> Ref | None:
        """Find an image with that name on any ISO SR that is no drive."""
        for sr in self._view.rows("SR"):
            if sr.content_type == _ISO and sr.type != "udev":
                for ref in sr.VDIs:
                    if self._view.row("VDI", ref).location == location:
                        return Ref(ref)
        return None

    def _find_disk(self, piece: Piece, sr: Piece) -> None:
        fields, here = piece.fields, self._out.known.get(sr.id)
        mapped = self._choice.disks.get(str(fields.get("uuid", "")))
        if mapped is not None:
            found = self._uuid("VDI", mapped)
            if found is None:
                raise err.UUID_INVALID("VDI", mapped)
            self._out.known[piece.id] = found
            return
        location = str(fields.get("location", ""))
        if here is not None:
            for ref in self._view.row("SR", here).VDIs:
                if self._view.row("VDI", ref).location == location:
                    self._out.known[piece.id] = Ref(ref)
                    return
        if self._choice.force:
            return
        if here is not None:
            raise err.VDI_LOCATION_MISSING(here, location)
        raise err.VDI_CONTENT_ID_MISSING()

    def _vm(self, piece: Piece) -> None:
        fields = piece.fields
        if fields.get("other_config", {}).get("default_template") == "true":
            named = self._view.by_name_label("VM", str(fields.get("name_label", "")))
            self._know(piece.id, named[0] if named else None)
            return
        if self._choice.restore:
            existing = self._uuid("VM", fields.get("uuid", ""))
            if existing is not None and not self._may_replace(piece, existing):
                return
        self._check_image(piece)
        self._out.vms.append(piece)

    def _may_replace(self, piece: Piece, existing: Ref) -> bool:
        row, force = self._view.row("VM", existing), self._choice.force
        if row.power_state != "Halted":
            if force:
                return False
            raise err.VM_BAD_POWER_STATE(existing, "halted", row.power_state.lower())
        version = int(piece.fields.get("version", 0))
        if row.version >= version and not force:
            raise err.VM_TO_IMPORT_IS_NOT_NEWER_VERSION(existing, row.version, version)
        self._out.replaced[piece.id] = existing
        return True

    def _check_image(self, piece: Piece) -> None:
        if piece.fields.get("power_state") != "Suspended":
            piece.fields["power_state"] = "Halted"
            piece.fields["suspend_VDI"] = NULL_REF
        elif not self._has_disk(str(piece.fields.get("suspend_VDI", ""))):
            if not self._choice.force:
                raise err.IMPORT_ERROR_FAILED_TO_FIND_OBJECT(piece.fields.get("suspend_VDI", ""))
            piece.fields["power_state"] = "Halted"

    def _has_disk(self, id_: str) -> bool:
        return id_ in self._out.known or any(disk.id == id_ for disk in self._out.disks)

    def _check_seeds(self) -> None:
        """Refuse a VM whose MAC addresses another one has."""
        replaced = set(self._out.replaced.values())
        seeds: dict[str, str] = {
            vm.other_config["mac_seed"]: vm.ref
            for vm in self._view.rows("VM")
            if "mac_seed" in vm.other_config and vm.ref not in replaced
        }
        for piece in self._out.vms:
            owner = seeds.get(piece.fields.get("other_config", {}).get("mac_seed", ""))
            if owner is not None:
                raise err.DUPLICATE_VM(owner)

    def _network(self, piece: Piece) -> None:
        label, bridge = piece.fields.get("name_label", ""), piece.fields.get("bridge", "")
        named = self._view.by_name_label("network", str(label))
        if named:
            self._out.known[piece.id] = named[0]
            return
        for row in self._view.rows("network"):
            if bridge and row.bridge == bridge:
                self._out.known[piece.id] = Ref(row.ref)
                return
        self._out.networks.append(piece)

    def _vbd(self, piece: Piece) -> None:
        fields = piece.fields
        vm = self._needed(piece, "VM")
        present = self._has_disk(str(fields.get("VDI", "")))
        if fields.get("currently_attached") and not present and not fields.get("empty"):
            is_cd_of_hvm = fields.get("type") == "CD" and vm.fields.get("HVM_boot_policy")
            if not is_cd_of_hvm:
                raise err.IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND()
        if not present and fields.get("type") != "CD":
            return
        if not present:
            fields.update(VDI=NULL_REF, empty=True)
        self._out.devices.append(piece)
