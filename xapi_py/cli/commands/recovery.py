"""Appliances, and recovery of VMs from a database on storage."""

from xapi_py.cli.context import Context
from xapi_py.cli.field_commands import chosen_database
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
    words = context.words
    database = words.members("database")
    if not {"vdi-uuid", "filename"} & set(database):
        raise MissingParameter("database:vdi-uuid")
    cls = "VM_appliance" if context.command.name.startswith("appliance") else "VM"
    async with chosen_database(context) as there:
        ref = there.by_uuid(cls, words.need("uuid"))
        if context.command.name.endswith("-recover"):
            force = words.flag("force")
            await there.api.call(f"{cls}.recover", ref, context.api.session, force)
        else:
            await there.api.call(f"{cls}.assert_can_be_recovered", ref, context.api.session)
