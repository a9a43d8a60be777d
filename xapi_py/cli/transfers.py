"""Commands that move files: a task, a transfer of the client, the task's outcome.

Source: brief CLI-PROTOCOL 4.9.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.cli.context import Context
from xapi_py.cli.problems import CommandFailed

FINISHED = frozenset({"success", "failure", "cancelled"})


async def through_task(context: Context, label: str, run: Callable[[Ref], Awaitable[bool]]) -> str:
    """Make a task, run a transfer that completes it, and give its result.

    Errors: the task's own ApiError; CommandFailed when the transfer never began.
    """
    call = context.api.call
    task = Ref(await call("task.create", label, ""))
    try:
        taken = await run(task)
        row = context.record("task", task)
        if not taken and row.status == "pending":
            raise CommandFailed("The client could not transfer the file")
        row = await finished(context, task)
        if row.status != "success":
            code, *params = row.error_info or ("INTERNAL_ERROR", "the transfer failed")
            raise ApiError(code, *params)
        return str(row.result)
    finally:
        await _forget(context, task)


async def _forget(context: Context, task: Ref) -> None:
    try:
        await context.api.call("task.destroy", task)
    except ApiError as error:
        if error.code != "HANDLE_INVALID":
            raise


async def finished(context: Context, task: Ref) -> Any:
    """Wait until a task is over and give its row."""
    while True:
        token = context.api.token()
        row = context.record("task", task)
        if row.status in FINISHED:
            return row
        waiting = context.api.start("event.from", (f"task/{task}",), token, 60.0)
        if isinstance(waiting, Deferred):
            await context.client.or_gone(waiting)


def address(
    context: Context, path: str, task: Ref, query: Mapping[str, str], host: Ref | None = None
) -> str:
    """Give the URL of a transfer: on the coordinator, or on ``host`` if that is another."""
    arguments = {"session_id": context.api.session, "task_id": task, **query}
    target = f"{path}?{urlencode(arguments, safe=':')}"
    if host is None or host == context.pool.master:
        return target
    return f"https://{context.record('host', host).address}{target}"


async def download(
    context: Context,
    label: str,
    filename: str,
    path: str,
    query: Mapping[str, str],
    host: Ref | None = None,
) -> None:
    """Have the client fetch something into a file; says so unless it is standard output."""

    async def run(task: Ref) -> bool:
        return await context.client.download(filename, address(context, path, task, query, host))

    await through_task(context, label, run)
    if filename:
        context.printer.message(f"{label} succeeded")


async def upload(
    context: Context,
    label: str,
    filename: str,
    path: str,
    query: Mapping[str, str],
    host: Ref | None = None,
) -> str:
    """Have the client send a file, and give the result of the task."""

    async def run(task: Ref) -> bool:
        return await context.client.upload(filename, address(context, path, task, query, host))

    return await through_task(context, label, run)


async def confirm(context: Context) -> bool:
    """Ask the user for a yes unless force is given; says what was typed instead."""
    if context.words.flag("force"):
        return True
    context.client.say("Type 'yes' to continue")
    typed = await context.client.prompt()
    if typed.strip().lower() == "yes":
        return True
    context.client.say(f"Aborted (you typed: '{typed}')")
    return False


async def loaded_members(context: Context, name: str, mark: str) -> dict[str, str]:
    """Give a map parameter; KEY``mark`` FILE members are read from the client's files."""
    found = {}
    for key, value in context.words.members(name).items():
        if key.endswith(mark) and len(key) > len(mark):
            found[key[: -len(mark)]] = (await context.client.load(value)).decode("utf-8", "replace")
        else:
            found[key] = value
    return found
