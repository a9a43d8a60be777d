"""Messages of classes PVS_site, PVS_server, PVS_proxy and PVS_cache_storage.

The records and their rules; no simulated host streams disks.
"""

import ipaddress
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.licence import require_feature
from xapi_py.api.registry import message
from xapi_py.api.settings import Setting, register
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err

PORT_MAX = 65535

register((Setting("PVS_site.set_PVS_uuid", ("PVS_uuid",)),))


@message("PVS_site.introduce")
def introduce_site(call: Call, name_label: str, name_description: str, pvs_uuid: str) -> Ref:
    """Note a site.  Errors: LICENCE_RESTRICTION, OPENVSWITCH_NOT_ACTIVE."""
    require_feature(call, "restrict_pvs_proxy", "PVS_proxy")
    for host in call.db.rows("host"):
        if host.software_version.get("network_backend") != "openvswitch":
            raise err.OPENVSWITCH_NOT_ACTIVE()
    fields = {
        "name_label": name_label,
        "name_description": name_description,
        "PVS_uuid": pvs_uuid,
    }
    with call.db.transaction() as tx:
        return tx.create("PVS_site", fields)


@message("PVS_site.forget")
def forget_site(call: Call, self: Ref) -> None:
    """Drop a site with its idle proxies.

    Errors: PVS_SITE_CONTAINS_RUNNING_PROXIES, PVS_SITE_CONTAINS_SERVERS.
    """
    row = call.db.row("PVS_site", self)
    running = [ref for ref in row.proxies if call.db.row("PVS_proxy", ref).currently_attached]
    if running:
        raise err.PVS_SITE_CONTAINS_RUNNING_PROXIES(*running)
    if len(row.servers):
        raise err.PVS_SITE_CONTAINS_SERVERS(*row.servers)
    with call.db.transaction() as tx:
        for cls, refs in (("PVS_proxy", row.proxies), ("PVS_cache_storage", row.cache_storage)):
            for ref in tuple(refs):
                tx.delete(cls, ref)
        tx.delete("PVS_site", self)


@message("PVS_server.introduce")
def introduce_server(
    call: Call, addresses: tuple[str, ...], first_port: int, last_port: int, site: Ref
) -> Ref:
    """Note a server of a site.

    Errors: LICENCE_RESTRICTION, INVALID_IP_ADDRESS_SPECIFIED, INVALID_VALUE
    for ports, PVS_SERVER_ADDRESS_IN_USE, HANDLE_INVALID.
    """
    require_feature(call, "restrict_pvs_proxy", "PVS_proxy")
    for address in addresses:
        _check_address(address)
    if not 0 < first_port <= PORT_MAX:
        raise err.INVALID_VALUE("first_port", str(first_port))
    if not first_port <= last_port <= PORT_MAX:
        raise err.INVALID_VALUE("last_port", str(last_port))
    for server in call.db.rows("PVS_server"):
        for address in addresses:
            if address in server.addresses:
                raise err.PVS_SERVER_ADDRESS_IN_USE(address)
    call.db.row("PVS_site", site)
    fields = {
        "addresses": tuple(dict.fromkeys(addresses)),
        "first_port": first_port,
        "last_port": last_port,
        "site": site,
    }
    with call.db.transaction() as tx:
        return tx.create("PVS_server", fields)


def _check_address(address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise err.INVALID_IP_ADDRESS_SPECIFIED("addresses") from None


@message("PVS_server.forget")
def forget_server(call: Call, self: Ref) -> None:
    """Drop a server."""
    call.db.row("PVS_server", self)
    with call.db.transaction() as tx:
        tx.delete("PVS_server", self)


@message("PVS_proxy.create")
def create_proxy(call: Call, site: Ref, vif: Ref) -> Ref:
    """Let a guest's first interface read its disk through a host's cache.

    Errors: LICENCE_RESTRICTION, HANDLE_INVALID, PVS_VIF_MUST_BE_FIRST_DEVICE,
    PVS_PROXY_ALREADY_PRESENT.
    """
    require_feature(call, "restrict_pvs_proxy", "PVS_proxy")
    device = call.db.row("VIF", vif).device
    call.db.row("PVS_site", site)
    if device != "0":
        raise err.PVS_VIF_MUST_BE_FIRST_DEVICE()
    for proxy in call.db.rows("PVS_proxy"):
        if vif == proxy.VIF:
            raise err.PVS_PROXY_ALREADY_PRESENT(proxy.ref)
    with call.db.transaction() as tx:
        return tx.create("PVS_proxy", {"site": site, "VIF": vif})


@message("PVS_proxy.destroy")
def destroy_proxy(call: Call, self: Ref) -> None:
    """Read the disk directly again."""
    call.db.row("PVS_proxy", self)
    with call.db.transaction() as tx:
        tx.delete("PVS_proxy", self)


@message("PVS_cache_storage.create")
def create_cache_storage(call: Call, record: dict[str, Any]) -> Ref:
    """Give a site room for its cache on a host.

    Errors: INVALID_VALUE for a host, SR or site that is none,
    PVS_CACHE_STORAGE_ALREADY_PRESENT.  Source: facts/traces, classes-123.
    """
    fields = constructor_fields(call, "PVS_cache_storage", record)
    for name in ("host", "SR", "site"):
        if fields.get(name, NULL_REF) in (NULL_REF, ""):
            raise err.INVALID_VALUE(name, fields.get(name, NULL_REF))
    for row in call.db.rows("PVS_cache_storage"):
        if (row.host, row.site) == (fields["host"], fields["site"]):
            raise err.PVS_CACHE_STORAGE_ALREADY_PRESENT(row.site, row.host)
    with call.db.transaction() as tx:
        return tx.create("PVS_cache_storage", fields)
