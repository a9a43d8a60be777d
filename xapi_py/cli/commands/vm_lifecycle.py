"""Starting, stopping and moving VMs."""

from typing import Any

from xapi_py.cli.context import Context
from xapi_py.cli.multiple import for_each
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.progress import run_call
from xapi_py.cli.registry import command
from xapi_py.cli.selecting import select


@command("vm-start")
async def start(context: Context) -> None:
    """Start VMs, on a host or where there is room."""
    await _start_or_resume(context, "start", context.words.flag("paused"))


@command("vm-resume")
async def resume(context: Context) -> None:
    """Resume VMs, on a host or where there is room."""
    await _start_or_resume(context, "resume", False)


async def _start_or_resume(context: Context, what: str, paused: bool) -> None:
    words = context.words
    force = words.flag("force")

    async def one(row: Any) -> None:
        if words.get("on"):
            host = context.find_host(words.get("on"))
            await run_call(context, f"VM.{what}_on", row.ref, host, paused, force)
        else:
            await run_call(context, f"VM.{what}", row.ref, paused, force)

    await for_each(context, await select(context, "vm"), one)


@command("vm-shutdown")
async def shutdown(context: Context) -> None:
    """Shut VMs down, the hard way with force."""
    await _clean_or_hard(context, "shutdown")


@command("vm-reboot")
async def reboot(context: Context) -> None:
    """Restart VMs, the hard way with force."""
    await _clean_or_hard(context, "reboot")


async def _clean_or_hard(context: Context, what: str) -> None:
    way = "hard" if context.words.flag("force") else "clean"

    async def one(row: Any) -> None:
        await run_call(context, f"VM.{way}_{what}", row.ref)

    await for_each(context, await select(context, "vm"), one)


@command("vm-suspend")
async def suspend(context: Context) -> None:
    """Suspend VMs to disk."""

    async def one(row: Any) -> None:
        await run_call(context, "VM.suspend", row.ref)

    await for_each(context, await select(context, "vm"), one)


@command("vm-reset-powerstate")
async def reset_power_state(context: Context) -> None:
    """Mark VMs as halted whose host is gone."""
    require_force(context)

    async def one(row: Any) -> None:
        await context.api.call("VM.power_state_reset", row.ref)

    await for_each(context, await select(context, "vm", control_domains=True), one)


def require_force(context: Context) -> None:
    """Refuse something dangerous without --force.  Errors: CommandFailed."""
    if not context.words.flag("force"):
        raise CommandFailed("This can lose data; if you are sure, say so with --force")


@command("vm-retrieve-wlb-recommendations")
async def recommendations(context: Context) -> None:
    """Show which hosts workload balancing would choose."""
    (row,) = await select(context, "vm", multiple=False)
    found = await context.api.call("VM.retrieve_wlb_recommendations", row.ref)
    context.printer.table(
        [[(context.name("host", host), " ".join(words))] for host, words in found.items()]
    )
