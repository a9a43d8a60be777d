"""Messages of class LVHD."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import check_driver
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

TYPES = ("lvm", "lvmoiscsi", "lvmohba", "lvmofcoe")


@message("LVHD.enable_thin_provisioning")
def enable_thin_provisioning(
    call: Call, host: Ref, sr: Ref, initial_allocation: int, allocation_quantum: int
) -> str:
    """Have an SR of volumes give disks space as they need it; gives an empty text.

    Errors: HOST_OFFLINE, SR_OPERATION_NOT_SUPPORTED for SRs without volumes,
    INVALID_VALUE for an allocation below nothing.
    """
    call.host(host)
    row = call.db.row("SR", sr)
    check_driver(call, row.type)
    if row.type not in TYPES:
        raise err.SR_OPERATION_NOT_SUPPORTED(sr)
    given = (("initial_allocation", initial_allocation), ("allocation_quantum", allocation_quantum))
    for name, value in given:
        if value < 0:
            raise err.INVALID_VALUE(name, value)
    with call.db.transaction() as tx:
        allocation = {
            "allocation": "xlvhd",
            "initial_allocation": str(initial_allocation),
            "allocation_quantum": str(allocation_quantum),
        }
        tx.set("SR", sr, "sm_config", {**row.sm_config, **allocation})
    return ""
