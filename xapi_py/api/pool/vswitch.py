"""The controller of the pool's virtual switches: an older form of SDN_controller."""

import ipaddress

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.datamodel import errors as err


@message("pool.set_vswitch_controller")
def set_vswitch_controller(call: Call, address: str) -> None:
    """Name the controller; the empty address is none.

    Errors: OPERATION_NOT_ALLOWED where a host has a bridge instead,
    INVALID_IP_ADDRESS_SPECIFIED.
    """
    for host in call.db.rows("host"):
        if host.software_version.get("network_backend") != "openvswitch":
            raise err.OPERATION_NOT_ALLOWED("host not configured for vswitch operation")
    if address and not _is_address(address):
        raise err.INVALID_IP_ADDRESS_SPECIFIED("address")
    with call.db.transaction() as tx:
        tx.set("pool", call.toolstack.pool, "vswitch_controller", address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
