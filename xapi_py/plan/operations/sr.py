"""SR operations: driver features, plugged PBDs and contents."""

from collections.abc import Mapping

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import in_progress, others, sr_operation_text

ALL_OPERATIONS = (
    "scan",
    "destroy",
    "forget",
    "plug",
    "unplug",
    "update",
    "vdi_create",
    "vdi_introduce",
    "vdi_destroy",
    "vdi_resize",
    "vdi_clone",
    "vdi_snapshot",
    "vdi_mirror",
    "vdi_enable_cbt",
    "vdi_disable_cbt",
    "vdi_data_destroy",
    "vdi_list_changed_blocks",
    "vdi_set_on_boot",
    "vdi_blocked",
    "vdi_copy",
    "vdi_force_unlock",
    "vdi_forget",
    "vdi_generate_config",
    "vdi_resize_online",
    "vdi_update",
    "vdi_revert",
    "pbd_create",
    "pbd_destroy",
)
UNLISTED = frozenset(
    {
        "vdi_blocked", "vdi_copy", "vdi_force_unlock", "vdi_forget", "vdi_generate_config",
        "vdi_resize_online", "vdi_update", "vdi_revert",
    }
)  # fmt: skip
OP_TEXT = {op: sr_operation_text(op) for op in ALL_OPERATIONS}

_FEATURE = {
    "update": "SR_UPDATE",
    "vdi_create": "VDI_CREATE",
    "vdi_introduce": "VDI_INTRODUCE",
    "vdi_destroy": "VDI_DELETE",
    "vdi_resize": "VDI_RESIZE",
    "vdi_snapshot": "VDI_SNAPSHOT",
    "vdi_mirror": "VDI_MIRROR",
    "vdi_enable_cbt": "VDI_CONFIG_CBT",
    "vdi_disable_cbt": "VDI_CONFIG_CBT",
    "vdi_data_destroy": "VDI_CONFIG_CBT",
    "vdi_list_changed_blocks": "VDI_CONFIG_CBT",
    "vdi_set_on_boot": "VDI_RESET_ON_BOOT",
}
# Any number of these run at once on one SR.
_PARALLEL = frozenset(
    {
        "vdi_create", "vdi_destroy", "vdi_resize", "vdi_clone", "vdi_snapshot", "vdi_mirror",
        "vdi_introduce", "vdi_copy", "vdi_enable_cbt", "vdi_disable_cbt", "vdi_data_destroy",
        "vdi_list_changed_blocks", "vdi_set_on_boot", "vdi_blocked", "vdi_force_unlock",
        "vdi_forget", "vdi_generate_config", "vdi_resize_online", "vdi_update", "vdi_revert",
        "update", "plug", "unplug",
    }
)  # fmt: skip


def driver_features(view: View, sr_type: str) -> Mapping[str, int]:
    """Give the features of the driver of ``sr_type``; empty when it is not installed.

    Cost: the number of installed drivers (about twenty).
    """
    for sm in view.rows("SM"):
        if sm.type == sr_type:
            features: Mapping[str, int] = sm.features
            return features
    return {}


def has_plugged_pbd(view: View, row: Row) -> bool:
    """Tell whether any host has the SR plugged."""
    return any(
        pbd is not None and pbd.currently_attached
        for pbd in (view.find("PBD", ref) for ref in row.PBDs)
    )


def _removal_error(view: View, row: Row, op: str) -> ApiError | None:
    """Check destroy and forget: unplugged everywhere, empty, not protected."""
    if has_plugged_pbd(view, row):
        return err.SR_HAS_PBD(row.ref)
    if row.other_config.get("indestructible") == "true" and op == "destroy":
        return err.SR_INDESTRUCTIBLE(row.ref)
    if op == "destroy":
        if not len(row.PBDs):
            return err.SR_HAS_NO_PBDS(row.ref)
        if any(
            vdi is not None and vdi.managed and vdi.type != "rrd"
            for vdi in (view.find("VDI", ref) for ref in row.VDIs)
        ):
            return err.SR_NOT_EMPTY()
    return None


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on this SR, or None.

    Cost: the SR's PBDs; for destroy and forget with nothing plugged also its
    VDIs up to the first managed one.
    """
    feature = _FEATURE.get(op)
    if feature is not None and feature not in driver_features(view, row.type):
        return err.SR_OPERATION_NOT_SUPPORTED(row.ref)
    if op in ("destroy", "forget"):
        found = _removal_error(view, row, op)
        if found is not None:
            return found
    current = others(row.current_operations, task)
    if current and not (op in _PARALLEL and set(current.values()) <= _PARALLEL):
        return in_progress("SR", row.ref, current, OP_TEXT)
    return None


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the SR offers now."""
    return tuple(
        op for op in ALL_OPERATIONS if op not in UNLISTED and error_for(view, row, op) is None
    )


# Changes of an SM record reach no SR by relation: the driver registry touches its SRs.
DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("SR", "current_operations", ()),
    ("SR", "type", ()),
    ("SR", "other_config", ()),
    ("PBD", "currently_attached", ("SR",)),
    ("PBD", "SR", ("SR",)),
    ("VDI", "SR", ("SR",)),
    ("VDI", "managed", ("SR",)),
)
