"""Messages about kernel drivers that come in several versions: no host has such ones."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref


@message("host.rescan_drivers")
def rescan_drivers(call: Call, self: Ref) -> None:
    """Look which drivers of a host can be chosen: none."""
    reached(call, self)
    stale = [row.ref for row in call.db.rows("Host_driver") if row.host == self]
    with call.db.transaction() as tx:
        for driver in stale:
            tx.delete("Host_driver", driver)


@message("Host_driver.rescan")
def rescan(call: Call, host: Ref) -> None:
    """Do the same."""
    rescan_drivers(call, host)
