"""Calls that take long, with a bar for those who ask for one."""

from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.cli.context import Context
from xapi_py.cli.transfers import FINISHED

WIDTH = 70
TURNING = "|/-\\"


async def run_call(context: Context, method: str, *arguments: object) -> Any:
    """Call a message; with progress=true as a task whose progress is shown.

    The result is then not available (None).
    """
    if not context.words.flag("progress"):
        return await context.api.call(method, *arguments)
    task = Ref(await context.api.call(f"Async.{method}", *arguments))
    row = await _watched(context, task)
    await context.api.call("task.destroy", task)
    if row.status != "success":
        code, *params = row.error_info or ("INTERNAL_ERROR", "the task failed")
        raise ApiError(code, *params)
    return None


async def _watched(context: Context, task: Ref) -> Any:
    turn = 0
    while True:
        token = context.api.token()
        row = context.record("task", task)
        bar = "#" * int(max(0.0, row.progress) * WIDTH)
        mark = TURNING[turn % len(TURNING)]
        context.client.say_error(f"\r{row.progress:4.0%} {mark} {bar}")
        turn += 1
        if row.status in FINISHED:
            context.client.say_error("\n")
            return row
        waiting = context.api.start("event.from", (f"task/{task}",), token, 1.0)
        if isinstance(waiting, Deferred):
            await context.client.or_gone(waiting)
