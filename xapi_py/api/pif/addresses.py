"""IP addresses of PIFs."""

from xapi_py.api import host_network
from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan.network_config import is_ipv4, is_ipv6, prefix_length

MAX_LENGTH_V6 = 128


@message("PIF.reconfigure_ip")
async def reconfigure_ip(
    call: Call, self: Ref, mode: str, ip: str, netmask: str, gateway: str, dns: str
) -> None:
    """Set the IPv4 address of a PIF; at once when it is up, else at its next plug.

    Errors: PIF_UNMANAGED, HA_IS_ENABLED, CLUSTERING_ENABLED,
    INVALID_IP_ADDRESS_SPECIFIED, PIF_IS_MANAGEMENT_INTERFACE, PIF_CONFIGURATION_ERROR.
    """
    row = call.db.row("PIF", self)
    checks.managed(row)
    given = {"ip_configuration_mode": mode, "IP": ip, "netmask": netmask, "gateway": gateway}
    if mode != "Static" or any(getattr(row, name) != value for name, value in given.items()):
        checks.clustering_allows(call, row)
        checks.not_vital(call, row)
    _check_ipv4(mode, ip, netmask, gateway)
    _check_dns(dns)
    if row.management and mode == "None":
        raise err.PIF_IS_MANAGEMENT_INTERFACE(self)
    kept = [s for s in _servers(row.DNS) if not is_ipv4(s)]
    fields: dict[str, object] = {**given, "DNS": ",".join((*_servers(dns), *kept))}
    if mode != "Static":
        fields |= {"IP": "", "netmask": "", "gateway": ""}
    await _configure(call, row, fields)


def _check_ipv4(mode: str, ip: str, netmask: str, gateway: str) -> None:
    given = (("IP", ip, is_ipv4), ("netmask", netmask, _is_netmask), ("gateway", gateway, is_ipv4))
    for name, value, fits in given:
        needed = mode == "Static" and name != "gateway"
        if (value or needed) and not fits(value):
            raise err.INVALID_IP_ADDRESS_SPECIFIED(name)


def _is_netmask(text: str) -> bool:
    try:
        prefix_length(text)
    except ValueError:
        return False
    return is_ipv4(text)


def _servers(text: str) -> list[str]:
    return [server.strip() for server in text.split(",") if server.strip()]


def _check_dns(text: str) -> None:
    for server in _servers(text):
        if not (is_ipv4(server) or is_ipv6(server)):
            raise err.INVALID_IP_ADDRESS_SPECIFIED("DNS")


@message("PIF.reconfigure_ipv6")
async def reconfigure_ipv6(
    call: Call, self: Ref, mode: str, ipv6: str, gateway: str, dns: str
) -> None:
    """Set the IPv6 address of a PIF, written as ``address/length``.

    Errors: as ``reconfigure_ip``; INVALID_CIDR_ADDRESS_SPECIFIED.
    """
    row = call.db.row("PIF", self)
    checks.managed(row)
    checks.clustering_allows(call, row)
    checks.not_vital(call, row)
    if (ipv6 or mode == "Static") and not _is_cidr(ipv6):
        raise err.INVALID_CIDR_ADDRESS_SPECIFIED("IPv6")
    if gateway and not is_ipv6(gateway):
        raise err.INVALID_IP_ADDRESS_SPECIFIED("gateway")
    _check_dns(dns)
    if row.management and row.primary_address_type == "IPv6" and mode == "None":
        raise err.PIF_IS_MANAGEMENT_INTERFACE(self)
    kept = [s for s in _servers(row.DNS) if not is_ipv6(s)]
    fields: dict[str, object] = {
        "ipv6_configuration_mode": mode,
        "IPv6": (ipv6,) if mode == "Static" else (),
        "ipv6_gateway": gateway if mode == "Static" else "",
        "DNS": ",".join((*kept, *_servers(dns))),
    }
    await _configure(call, row, fields)


def _is_cidr(text: str) -> bool:
    address, slash, length = text.partition("/")
    return slash == "/" and is_ipv6(address) and length.isdigit() and int(length) <= MAX_LENGTH_V6


async def _configure(call: Call, row: Row, fields: dict[str, object]) -> None:
    """Store the fields, and make them so when the PIF is up; both or nothing."""
    before = {name: getattr(row, name) for name in fields}

    def edit(tx: Transaction) -> host_network.Edit:
        tx.update("PIF", row.ref, **fields)
        return lambda undo: undo.update("PIF", row.ref, **before)

    if row.currently_attached:
        host = Ref(row.host)
        await host_network.change_records(call, host, edit, lambda up: up, row.ref)
    else:
        with call.db.transaction() as tx:
            edit(tx)


@message("PIF.set_primary_address_type")
def set_primary_address_type(call: Call, self: Ref, primary_address_type: str) -> None:
    """Say which address of the PIF counts.  Errors: PIF_IS_MANAGEMENT_INTERFACE."""
    row = call.db.row("PIF", self)
    checks.managed(row)
    checks.not_management(row)
    with call.db.transaction() as tx:
        tx.set("PIF", self, "primary_address_type", primary_address_type)
