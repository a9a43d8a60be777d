"""VLANs and tunnels."""

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import Context
from xapi_py.cli.parsing import parse_value
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.registry import command
from xapi_py.datamodel.model import EnumOf, Int


@command("vlan-create")
async def create_vlan(context: Context) -> None:
    """Make a VLAN and print the uuid of the PIF that carries it."""
    words = context.words
    pif = context.by_uuid("PIF", words.need("pif-uuid"))
    network = context.by_uuid("network", words.need("network-uuid"))
    tag = parse_value(context, "vlan", words.need("vlan"), Int())
    ref = await context.api.call("VLAN.create", pif, tag, network)
    context.printer.listing([context.uuid("PIF", context.record("VLAN", ref).untagged_PIF)])


@command("vlan-destroy")
async def destroy_vlan(context: Context) -> None:
    """Remove a VLAN, named by its own uuid or by that of its PIF."""
    uuid = context.words.need("uuid")
    try:
        vlan = context.by_uuid("VLAN", uuid)
    except ApiError:
        pif = context.record("PIF", context.by_uuid("PIF", uuid))
        vlan = pif.VLAN_master_of
        if vlan == NULL_REF:
            raise CommandFailed(f"{uuid} is neither a VLAN nor the PIF of one") from None
    await context.api.call("VLAN.destroy", vlan)


@command("tunnel-create")
async def create_tunnel(context: Context) -> None:
    """Make a tunnel and print the uuid of its end."""
    words = context.words
    pif = context.by_uuid("PIF", words.need("pif-uuid"))
    network = context.by_uuid("network", words.need("network-uuid"))
    more = []
    if words.has("protocol"):
        kind = EnumOf("tunnel_protocol")
        more = [parse_value(context, "protocol", words.get("protocol"), kind)]
    ref = await context.api.call("tunnel.create", pif, network, *more)
    context.printer.listing([context.uuid("PIF", context.record("tunnel", ref).access_PIF)])


@command("tunnel-destroy")
async def destroy_tunnel(context: Context) -> None:
    """Remove a tunnel, named by its own uuid or by that of the PIF tunnel-create printed.

    The original takes only the first.
    """
    uuid = context.words.need("uuid")
    try:
        tunnel = context.by_uuid("tunnel", uuid)
    except ApiError as error:
        ends = [t for t in context.records("tunnel") if context.uuid("PIF", t.access_PIF) == uuid]
        if not ends:
            raise error
        tunnel = ends[0].ref
    await context.api.call("tunnel.destroy", tunnel)
