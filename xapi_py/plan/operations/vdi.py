"""VDI operations: what storage, attachment, features and purpose let through."""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import in_progress, others
from xapi_py.plan.operations.sr import driver_features

ALL_OPERATIONS = (
    "clone",
    "copy",
    "resize",
    "resize_online",
    "snapshot",
    "mirror",
    "destroy",
    "forget",
    "update",
    "force_unlock",
    "generate_config",
    "enable_cbt",
    "disable_cbt",
    "data_destroy",
    "list_changed_blocks",
    "set_on_boot",
    "blocked",
    "revert_to",
    "revert_from",
    "scan",
)
# blocked marks a disk, scan was dropped after 7.1 and revert needs driver support.
UNLISTED = frozenset({"blocked"})

_FEATURE = {
    "resize": "VDI_RESIZE",
    "resize_online": "VDI_RESIZE_ONLINE",
    "snapshot": "VDI_SNAPSHOT",
    "mirror": "VDI_MIRROR",
    "destroy": "VDI_DELETE",
    "update": "VDI_UPDATE",
    "generate_config": "VDI_GENERATE_CONFIG",
    "enable_cbt": "VDI_CONFIG_CBT",
    "disable_cbt": "VDI_CONFIG_CBT",
    "data_destroy": "VDI_CONFIG_CBT",
    "list_changed_blocks": "VDI_CONFIG_CBT",
    "set_on_boot": "VDI_RESET_ON_BOOT",
    "revert_to": "VDI_REVERT",
    "revert_from": "VDI_REVERT",
}
# May run while a copy reads the disk, or while it is being mirrored.
_BESIDE_COPY = frozenset({"copy", "clone", "update", "generate_config", "force_unlock"})
_BESIDE_MIRROR = frozenset({"snapshot", "copy", "update", "generate_config", "force_unlock"})
# Refused on a disk any VM has attached; readers of a copy only mind writers.
_NOT_ATTACHED = frozenset(
    {"destroy", "resize", "forget", "update", "data_destroy", "set_on_boot", "revert_to", "scan"}
)
_NO_WRITER = frozenset({"copy", "clone"})
_CBT_METADATA_REFUSED = frozenset(
    {
        "clone", "copy", "resize", "resize_online", "snapshot", "mirror", "enable_cbt",
        "disable_cbt", "data_destroy", "set_on_boot", "generate_config", "force_unlock",
        "revert_to", "revert_from",
    }
)  # fmt: skip
_CBT_TYPES = frozenset({"user", "system"})


def attachment(view: View, row: Row) -> tuple[bool, bool]:
    """Tell whether any VBD holds the disk, and whether one holds it for writing.

    Stops at the first holder of a read-only disk, so that an ISO in many
    drives costs little; otherwise the cost is the number of VBDs.
    """
    held = False
    for ref in row.VBDs:
        vbd = view.find("VBD", ref)
        if vbd is None or not (vbd.currently_attached or vbd.reserved or vbd.current_operations):
            continue
        if vbd.mode == "RW":
            return True, True
        held = True
        if row.read_only:
            break
    return held, False


def _attachment_error(view: View, row: Row, op: str, held: tuple[bool, bool]) -> ApiError | None:
    """Refuse what an attached (or being attached) disk cannot take part in."""
    if (op in _NOT_ATTACHED and held[0]) or (op in _NO_WRITER and held[1]):
        return err.VDI_IN_USE(row.ref, op)
    return None


def _feature_error(view: View, row: Row, op: str) -> ApiError | None:
    feature = _FEATURE.get(op)
    if feature is None:
        return None
    sr = view.find("SR", row.SR)
    if sr is not None and feature not in driver_features(view, sr.type):
        return err.SR_OPERATION_NOT_SUPPORTED(sr.ref)
    return None


def _cbt_error(row: Row, op: str) -> ApiError | None:
    """Apply the changed-block tracking rules."""
    if row.type == "cbt_metadata" and op in _CBT_METADATA_REFUSED:
        return err.VDI_INCOMPATIBLE_TYPE(row.ref, row.type)
    if op in ("enable_cbt", "disable_cbt"):
        if row.is_a_snapshot:
            return err.OPERATION_NOT_ALLOWED(f"VDI is a snapshot: {row.ref}")
        if row.type not in _CBT_TYPES:
            return err.VDI_INCOMPATIBLE_TYPE(row.ref, row.type)
        if row.on_boot == "reset":
            return err.VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION()
    elif op in ("mirror", "set_on_boot") and row.cbt_enabled:
        return err.VDI_CBT_ENABLED(row.ref)
    elif op == "data_destroy":
        if not row.is_a_snapshot:
            return err.OPERATION_NOT_ALLOWED(f"VDI is not a snapshot: {row.ref}")
        if not row.cbt_enabled:
            return err.VDI_NO_CBT_METADATA(row.ref)
    return None


def _purpose_error(view: View, row: Row, op: str) -> ApiError | None:
    """Refuse by what the disk is for: high availability, RRD archive, sharing, reset."""
    if op == "snapshot":
        if row.sharable:
            return err.VDI_IS_SHARABLE(row.ref)
        if row.on_boot == "reset":
            return err.VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION()
    elif op in ("destroy", "forget"):
        if row.type in ("ha_statefile", "redo_log") and _ha_holds(view, row):
            return err.HA_IS_ENABLED()
        if op == "destroy" and row.type == "rrd":
            return err.VDI_HAS_RRDS(row.ref)
    elif op in ("resize", "resize_online") and row.type == "ha_statefile" and _ha_holds(view, row):
        return err.HA_IS_ENABLED()
    return None


def _ha_holds(view: View, row: Row) -> bool:
    return any(
        pool.ha_enabled and (row.type == "redo_log" or row.uuid in pool.ha_statefiles)
        for pool in view.rows("pool")
    )


def _error(
    view: View, row: Row, op: str, task: str | None, held: tuple[bool, bool]
) -> ApiError | None:
    current = others(row.current_operations, task)
    if current:
        running = set(current.values())
        beside = (running <= {"copy"} and op in _BESIDE_COPY) or (
            running <= {"mirror"} and op in _BESIDE_MIRROR
        )
        if not beside:
            return in_progress("VDI", row.ref, current)
    if not row.managed and op not in ("forget", "update"):
        return err.VDI_NOT_MANAGED(row.ref)
    return (
        _attachment_error(view, row, op, held)
        or _feature_error(view, row, op)
        or _cbt_error(row, op)
        or _purpose_error(view, row, op)
    )


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on this VDI, or None.

    Cost: the VBDs of the disk and the installed drivers.
    """
    return _error(view, row, op, task, attachment(view, row))


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the VDI offers now."""
    held = attachment(view, row)
    return tuple(
        op
        for op in ALL_OPERATIONS
        if op not in UNLISTED and _error(view, row, op, None, held) is None
    )


DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *(
        ("VDI", field, ())
        for field in (
            "current_operations", "managed", "type", "is_a_snapshot", "cbt_enabled", "on_boot",
            "sharable", "read_only", "SR",
        )
    ),
    *(
        ("VBD", field, ("VDI",))
        for field in ("currently_attached", "reserved", "current_operations", "mode", "VDI")
    ),
)  # fmt: skip
