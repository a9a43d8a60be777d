"""Doing something to each selected object, also when some of them fail."""

from collections.abc import Awaitable, Callable
from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.cli.context import Context
from xapi_py.cli.problems import CommandFailed, ExitWith
from xapi_py.cli.rendering import error_text


async def for_each(
    context: Context, rows: list[Any], one: Callable[[Any], Awaitable[None]]
) -> None:
    """Run ``one`` on every row.

    With several rows all are tried, failures are printed, and the command
    ends with status 1 if there was any.
    """
    if len(rows) == 1:
        await one(rows[0])
        return
    failed = False
    for row in rows:
        try:
            await one(row)
        except (ApiError, CommandFailed) as error:
            failed = True
            text = _described(error)
            if context.model.profile != "7.1":
                text = f"operation failed on {row.uuid}: {text}"
            context.printer.listing([text])
    if failed:
        context.printer.flush()
        raise ExitWith(1)


def _described(error: ApiError | CommandFailed) -> str:
    if isinstance(error, ApiError):
        return error_text(error)
    return f'INTERNAL_ERROR: [ Cli_util.Cli_failure("{error}") ]'
