"""Moving VMs to other hosts, other storage and other pools."""

from typing import Any

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.cli.context import Context
from xapi_py.cli.multiple import for_each
from xapi_py.cli.problems import CommandFailed, MissingParameter
from xapi_py.cli.progress import run_call
from xapi_py.cli.registry import command
from xapi_py.cli.remote_pool import RemotePool, connect
from xapi_py.cli.selecting import select

OPTIONS = ("force", "live", "copy", "compress")


@command("vm-migrate")
async def migrate(context: Context) -> None:
    """Move VMs to another host, with ``vdi:`` to other storage, or to another pool."""
    words = context.words
    options = {key: "true" if words.flag(key) else "false" for key in OPTIONS if words.has(key)}
    if words.has("remote-master"):
        await _to_other_pool(context, options)
        return
    name = words.get("host") or words.get("host-uuid")
    if not name:
        raise CommandFailed("Give the host to move to: host= or host-uuid=")
    target = context.find_host(name)

    async def one(row: Any) -> None:
        if words.members("vdi") or words.members("vif"):
            await _move_with_disks(context, row, target, options)
        else:
            await run_call(context, "VM.pool_migrate", row.ref, target, options)

    await for_each(context, await select(context, "vm"), one)


async def _move_with_disks(
    context: Context, row: Any, target: Ref, options: dict[str, str]
) -> None:
    words = context.words
    network = context.optional("network", "remote-network")
    if network == NULL_REF:
        network = next(
            p.network for p in context.records("PIF") if p.host == target and p.management
        )
    ticket = await context.api.call("host.migrate_receive", target, network, {})
    disks = {
        context.by_uuid("VDI", vdi): context.by_uuid("SR", sr)
        for vdi, sr in words.members("vdi").items()
    }
    interfaces = {
        context.by_uuid("VIF", vif): context.by_uuid("network", uuid)
        for vif, uuid in words.members("vif").items()
    }
    await run_call(context, "VM.migrate_send", row.ref, ticket, True, disks, interfaces, options)


async def _to_other_pool(context: Context, options: dict[str, str]) -> None:
    """Move VMs to the pool of ``remote-master``.

    Disks that no ``vdi:`` names go to that pool's default SR, or to the SR of
    the chosen host with the most free space.
    """
    words = context.words
    for name in ("remote-master", "remote-username", "remote-password"):
        if not words.get(name):
            raise MissingParameter(name)
    rows = await select(context, "vm")
    address, user = words.get("remote-master"), words.get("remote-username")
    async with connect(address, user, words.get("remote-password")) as remote:
        host = await _remote_host(remote, words.get("host") or words.get("host-uuid"))
        network = await _remote_network(remote, host, words.get("remote-network"))

        async def one(row: Any) -> None:
            disks = await _disk_map(context, remote, row, host)
            interfaces = {
                context.by_uuid("VIF", vif): await remote.call("network.get_by_uuid", uuid)
                for vif, uuid in words.members("vif").items()
            }
            ticket = await remote.call("host.migrate_receive", host, network, options)
            live = words.flag("live")
            arguments = (row.ref, ticket, live, disks, interfaces, options)
            await run_call(context, "VM.migrate_send", *arguments)

        await for_each(context, rows, one)


async def _remote_host(remote: RemotePool, name: str) -> str:
    hosts = await remote.call("host.get_all_records")
    for ref, record in hosts.items():
        if name in (record["uuid"], record["name_label"], record["hostname"]):
            return str(ref)
    if name:
        raise CommandFailed(f"Host {name} not found in the other pool")
    (pool,) = (await remote.call("pool.get_all_records")).values()
    return str(pool["master"])


async def _remote_network(remote: RemotePool, host: str, name: str) -> str:
    if name:
        networks = await remote.call("network.get_all_records")
        for ref, record in networks.items():
            if name in (record["uuid"], record["name_label"]):
                return str(ref)
        raise CommandFailed(f"Network {name} not found in the other pool")
    pifs = await remote.call("PIF.get_all_records")
    for pif in pifs.values():
        if pif["host"] == host and pif["management"]:
            return str(pif["network"])
    raise CommandFailed("The other pool has no management network; give one: remote-network=")


async def _disk_map(context: Context, remote: RemotePool, row: Any, host: str) -> dict[Ref, str]:
    named = {
        context.by_uuid("VDI", vdi): str(await remote.call("SR.get_by_uuid", sr))
        for vdi, sr in context.words.members("vdi").items()
    }
    drives = [context.record("VBD", ref) for ref in row.VBDs]
    disks = [d.VDI for d in drives if d.type == "Disk" and not d.empty]
    if all(disk in named for disk in disks):
        return named
    usual = await _usual_sr(remote, host)
    return {**{Ref(disk): usual for disk in disks}, **named}


async def _usual_sr(remote: RemotePool, host: str) -> str:
    (pool,) = (await remote.call("pool.get_all_records")).values()
    pbds = (await remote.call("PBD.get_all_records")).values()
    reached = {p["SR"] for p in pbds if p["host"] == host and p["currently_attached"]}
    if pool["default_SR"] in reached:
        return str(pool["default_SR"])
    srs = await remote.call("SR.get_all_records")
    free = {
        ref: int(srs[ref]["physical_size"]) - int(srs[ref]["physical_utilisation"])
        for ref in reached
        if srs[ref]["content_type"] != "iso" and srs[ref]["type"] != "udev"
    }
    if not free:
        raise CommandFailed("The other host has no storage; say where disks go: vdi:UUID=SR")
    return str(max(free, key=lambda ref: free[ref]))
