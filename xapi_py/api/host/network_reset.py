"""Forgetting all network records of a host."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref


@message("host.reset_networking")
def reset_networking(call: Call, host: Ref) -> None:
    """Remove the records of a host's bonds, VLANs, tunnels and interfaces.

    What is configured on the host stays as it is until the next scan.
    Networks stay too.  Source: brief NETWORK.
    """
    call.db.row("host", host)
    db = call.db
    gone = {row.ref for row in db.rows("PIF") if row.host == host}
    above = (
        ("Bond", "master"),
        ("VLAN", "untagged_PIF"),
        ("VLAN", "tagged_PIF"),
        ("tunnel", "access_PIF"),
        ("network_sriov", "physical_PIF"),
    )
    with db.transaction() as tx:
        for cls, field in above:
            for row in db.rows(cls):
                if getattr(row, field) in gone:
                    tx.delete(cls, row.ref)
        for pif in gone:
            metrics = db.row("PIF", pif).metrics
            if db.find("PIF_metrics", metrics) is not None:
                tx.delete("PIF_metrics", metrics)
            tx.delete("PIF", pif)
