"""Hosts that leave the pool for good."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan.cpu_levelling import pool_cpu_info
from xapi_py.plan.evacuation import guests
from xapi_py.plan.operations.host import is_live

OWNED = ("PIF", "PBD", "host_cpu", "PCI", "PGPU", "PUSB", "host_crashdump", "Certificate")
"""Classes whose rows belong to the host they name."""


@message("host.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Forget a host that will not come back, with all that belongs to it.

    Errors: HOST_IS_LIVE, HA_IS_ENABLED, HOST_HAS_RESIDENT_VMS.
    """
    row = _dead(call, self)
    if call.db.row("pool", call.toolstack.pool).ha_enabled:
        raise err.HA_IS_ENABLED()
    if guests(call.db, row):
        raise err.HOST_HAS_RESIDENT_VMS(self)
    db = call.db
    with db.transaction() as tx:
        for cls in OWNED:
            for owned in [r.ref for r in db.rows(cls) if r.host == self]:
                tx.delete(cls, owned)
        for cls, ref in (("VM", row.control_domain), ("host_metrics", row.metrics)):
            if db.find(cls, ref) is not None:
                tx.delete(cls, ref)
        tx.delete("host", self)
        infos = [host.cpu_info for host in db.rows("host")]
        tx.set("pool", call.toolstack.pool, "cpu_info", pool_cpu_info(infos, call.model.profile))


@message("host.declare_dead")
def declare_dead(call: Call, host: Ref) -> None:
    """Note that a host is off: its guests are halted.  Errors: HOST_IS_LIVE."""
    row = _dead(call, host)
    with call.db.transaction() as tx:
        for vm in guests(call.db, row):
            tx.update("VM", vm.ref, power_state="Halted", resident_on="OpaqueRef:NULL")
        tx.set("host", host, "enabled", False)


def _dead(call: Call, host: Ref) -> Row:
    row = call.db.row("host", host)
    if host == call.toolstack.localhost or is_live(call.db, row):
        raise err.HOST_IS_LIVE(host)
    return row
