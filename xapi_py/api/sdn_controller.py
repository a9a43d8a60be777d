"""Messages of class SDN_controller: who programs the virtual switches."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.tunnel import uses_openvswitch
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan.network_config import is_ipv4, is_ipv6

DEFAULT_PORT = 6632


@message("SDN_controller.introduce")
def introduce(call: Call, protocol: str, address: str, port: int) -> Ref:
    """Name the controller of the pool's switches; there is at most one.

    ``pssl`` means the switches listen: then address and port stay empty.
    Errors: OPERATION_NOT_ALLOWED, INVALID_IP_ADDRESS_SPECIFIED, INVALID_VALUE.
    """
    if not uses_openvswitch(call):
        raise err.OPERATION_NOT_ALLOWED("host not configured for vswitch operation")
    if call.db.count("SDN_controller"):
        raise err.OPERATION_NOT_ALLOWED("SDN controller already configured")
    if protocol == "pssl":
        if address:
            raise err.OPERATION_NOT_ALLOWED("IP address should not be specified for PSSL protocol")
        if port:
            raise err.OPERATION_NOT_ALLOWED("Port should not be specified for PSSL protocol")
    else:
        if not (is_ipv4(address) or is_ipv6(address)):
            raise err.INVALID_IP_ADDRESS_SPECIFIED("address")
        if not 0 <= port <= 65535:
            raise err.INVALID_VALUE("port", port)
    chosen = 0 if protocol == "pssl" else port or DEFAULT_PORT
    with call.db.transaction() as tx:
        return tx.create(
            "SDN_controller", {"protocol": protocol, "address": address, "port": chosen}
        )


@message("SDN_controller.forget")
def forget(call: Call, self: Ref) -> None:
    """Let the switches work by themselves again."""
    call.db.row("SDN_controller", self)
    with call.db.transaction() as tx:
        tx.delete("SDN_controller", self)
