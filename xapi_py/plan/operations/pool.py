"""Pool operations: one at a time, and high availability on or off."""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import in_progress, others

ALL_OPERATIONS = (
    "ha_enable",
    "ha_disable",
    "cluster_create",
    "designate_new_master",
    "configure_repositories",
    "sync_updates",
    "sync_bundle",
    "get_updates",
    "apply_updates",
    "tls_verification_enable",
    "cert_refresh",
    "exchange_certificates_on_join",
    "exchange_ca_certificates_on_join",
    "copy_primary_host_certs",
    "eject",
    "exchange_crls_on_join",
)


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on the pool, or None."""
    current = others(row.current_operations, task)
    if current:
        running = set(current.values())
        if "ha_enable" in running and op in ("ha_enable", "ha_disable"):
            return err.HA_ENABLE_IN_PROGRESS()
        if "ha_disable" in running and op in ("ha_enable", "ha_disable"):
            return err.HA_DISABLE_IN_PROGRESS()
        if not (op == "get_updates" and running <= {"get_updates"}):
            return in_progress("pool", row.ref, current)
    if op == "ha_enable" and row.ha_enabled:
        return err.HA_IS_ENABLED()
    if op == "ha_disable" and not row.ha_enabled:
        return err.HA_NOT_ENABLED()
    return None


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the pool offers now."""
    return tuple(op for op in ALL_OPERATIONS if error_for(view, row, op) is None)


DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("pool", "current_operations", ()),
    ("pool", "ha_enabled", ()),
)
