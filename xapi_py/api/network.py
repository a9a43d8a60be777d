"""Messages of class network: what PIFs and VIFs are connected to."""

from typing import Any

from xapi_py.api import host_network
from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.internal_networks import give_addresses, local_pif, stays, take_down, users
from xapi_py.api.pif.plug import plug_pif
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.plan.network_config import is_internal_management, is_slave

MAX_NAME = 15
RESERVED = ("xen", "xapi", "vif", "tap", "eth")
"""Beginnings of device names that are not free to choose."""

DEFAULT_MTU = 1500
MANAGEMENT_KEY = "is_host_internal_management_network"
CONFLICTS = {"nbd": "insecure_nbd", "insecure_nbd": "nbd"}


def new_bridge_name(db: Database) -> str:
    """Give the first of xapi0, xapi1... that no network uses."""
    taken = {row.bridge for row in db.rows("network")}
    number = 0
    while f"xapi{number}" in taken:
        number += 1
    return f"xapi{number}"


@message("network.create")
def create(call: Call, record: dict[str, Any]) -> Ref:
    """Make a network; it gets a free bridge name unless one is given.

    Errors: INVALID_VALUE for a bridge name, BRIDGE_NAME_EXISTS.
    """
    fields = constructor_fields(call, "network", record)
    bridge = fields.get("bridge", "")
    if bridge and not call.session.is_pool:
        check_bridge_name(bridge)
    if bridge and any(row.bridge == bridge for row in call.db.rows("network")):
        raise err.BRIDGE_NAME_EXISTS(bridge)
    mtu = fields.get("MTU", DEFAULT_MTU)
    fields["MTU"] = mtu if mtu > 0 else DEFAULT_MTU
    fields["bridge"] = bridge or new_bridge_name(call.db)
    with call.db.transaction() as tx:
        return tx.create("network", fields)


def check_bridge_name(name: str) -> None:
    """Refuse a bridge name clients may not choose.  Errors: INVALID_VALUE."""
    if len(name) > MAX_NAME or name.startswith(RESERVED):
        raise err.INVALID_VALUE("bridge", name)


@message("network.pool_introduce")
def pool_introduce(
    call: Call,
    name_label: str,
    name_description: str,
    mtu: int,
    other_config: dict[str, str],
    bridge: str,
    managed: bool = True,
    purpose: tuple[str, ...] = (),
) -> Ref:
    """Make the record of a network as it is; for joining hosts."""
    with call.db.transaction() as tx:
        return tx.create(
            "network",
            {
                "name_label": name_label,
                "name_description": name_description,
                "MTU": mtu,
                "other_config": other_config,
                "bridge": bridge,
                "managed": managed,
                "purpose": tuple(purpose),
            },
        )


@message("network.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Remove a network without PIFs; unplugged VIFs go with it.

    Errors: NETWORK_CONTAINS_VIF, NETWORK_CONTAINS_PIF, CANNOT_DESTROY_SYSTEM_NETWORK.
    """
    db = call.db
    row = db.row("network", self)
    in_use = [ref for ref in row.VIFs if is_in_use(call, ref)]
    if in_use:
        raise err.NETWORK_CONTAINS_VIF(*in_use)
    if len(row.PIFs):
        raise err.NETWORK_CONTAINS_PIF(*row.PIFs)
    if row.other_config.get(MANAGEMENT_KEY) == "true":
        raise err.CANNOT_DESTROY_SYSTEM_NETWORK(self)
    with db.transaction() as tx:
        for ref in tuple(row.VIFs):
            metrics = db.row("VIF", ref).metrics
            if db.find("VIF_metrics", metrics) is not None:
                tx.delete("VIF_metrics", metrics)
            tx.delete("VIF", ref)
        for ref in row.blobs.values():
            if db.find("blob", ref) is not None:
                tx.delete("blob", ref)
        tx.delete("network", self)


def is_in_use(call: Call, vif: Ref) -> bool:
    """Tell whether a VIF is plugged or about to be."""
    row = call.db.row("VIF", vif)
    return bool(row.currently_attached or row.reserved)


@message("network.attach")
async def attach(call: Call, network: Ref, host: Ref) -> None:
    """Bring a network up on a host.

    Errors: HOST_CANNOT_ATTACH_NETWORK when the host's PIF is enslaved,
    BRIDGE_NOT_AVAILABLE for an unmanaged network whose bridge is missing.
    """
    row = call.db.row("network", network)
    call.db.row("host", host)
    pif = local_pif(call.db, row, host)
    if pif is None:
        await host_network.make_bridge(call, host, row)
    elif is_slave(call.db, pif):
        raise err.HOST_CANNOT_ATTACH_NETWORK(host, network)
    elif not pif.currently_attached and pif.managed:
        await plug_pif(call, pif.ref)


@message("network.attach_for_vm")
async def attach_for_vm(call: Call, host: Ref, vm: Ref) -> None:
    """Bring the networks of a VM's VIFs up on a host.  Errors: as ``attach``."""
    networks = {call.db.row("VIF", ref).network for ref in call.db.row("VM", vm).VIFs}
    for network in networks:
        row = call.db.find("network", network)
        if row is None:
            continue
        await attach(call, Ref(network), host)
        if is_internal_management(row):
            await give_addresses(call, host, row, vm)


@message("network.detach_for_vm")
async def detach_for_vm(call: Call, host: Ref, vm: Ref) -> None:
    """Take private networks down on a host when nobody uses them any more."""
    row = call.db.find("VM", vm)
    if row is None:
        return
    networks = {call.db.row("VIF", ref).network for ref in row.VIFs}
    for ref in networks:
        network = call.db.find("network", ref)
        if network is None or stays(network) or local_pif(call.db, network, host) is not None:
            continue
        if not users(call.db, network, host):
            await take_down(call, host, network)


@message("network.set_default_locking_mode")
def set_default_locking_mode(call: Call, network: Ref, value: str) -> None:
    """Say what VIFs with mode network_default may send.  Errors: VIF_IN_USE."""
    row = call.db.row("network", network)
    for ref in row.VIFs:
        vif = call.db.row("VIF", ref)
        if vif.currently_attached and vif.locking_mode == "network_default":
            raise err.VIF_IN_USE(network, ref)
    with call.db.transaction() as tx:
        tx.set("network", network, "default_locking_mode", value)


@message("network.add_purpose")
def add_purpose(call: Call, self: Ref, value: str) -> None:
    """Give a network a purpose.  Errors: NETWORK_INCOMPATIBLE_PURPOSES."""
    row = call.db.row("network", self)
    conflict = CONFLICTS.get(value)
    if conflict in row.purpose:
        raise err.NETWORK_INCOMPATIBLE_PURPOSES(value, conflict)
    with call.db.transaction() as tx:
        tx.add_to_set("network", self, "purpose", value)


@message("network.remove_purpose")
def remove_purpose(call: Call, self: Ref, value: str) -> None:
    """Take a purpose away from a network."""
    call.db.row("network", self)
    with call.db.transaction() as tx:
        tx.remove_from_set("network", self, "purpose", value)
