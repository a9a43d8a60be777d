"""Appliances, and recovery of VMs from a database on storage."""

from xapi_py.base.names import Ref
from xapi_py.cli.context import Context
from xapi_py.cli.problems import MissingParameter
from xapi_py.cli.registry import command


@command("appliance-shutdown")
async def shutdown_appliance(context: Context) -> None:
    """Shut down all VMs of an appliance."""
    ref = context.by_uuid("VM_appliance", context.words.need("uuid"))
    way = "hard" if context.words.flag("force") else "clean"
    await context.api.call(f"VM_appliance.{way}_shutdown", ref)


@command(
    "appliance-assert-can-be-recovered",
    "appliance-recover",
    "vm-assert-can-be-recovered",
    "vm-recover",
)
async def recover(context: Context) -> None:
    """Recover something from a saved database, or check that this is possible."""
    words, call = context.words, context.api.call
    disk = words.members("database").get("vdi-uuid", "")
    if not disk:
        raise MissingParameter("database:vdi-uuid")
    session = Ref(await call("VDI.open_database", context.by_uuid("VDI", disk)))
    cls = "VM_appliance" if context.command.name.startswith("appliance") else "VM"
    there = context.api.of_session(session)
    ref = there.read(f"{cls}.get_by_uuid", words.need("uuid"))
    try:
        if context.command.name.endswith("-recover"):
            await there.call(f"{cls}.recover", ref, context.api.session, words.flag("force"))
        else:
            await there.call(f"{cls}.assert_can_be_recovered", ref, context.api.session)
    finally:
        await there.call("session.logout")
