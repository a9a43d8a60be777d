"""The log of this server, as the commands of 7.1 reach it."""

import logging

from xapi_py.base.log import RECENT
from xapi_py.cli.context import Context
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.registry import command
from xapi_py.datamodel import errors as err

LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
OUTPUTS = ("nil", "stderr", "syslog", "string")


def _administrator_only(context: Context) -> None:
    """Errors: RBAC_PERMISSION_DENIED for who is not a superuser."""
    if not context.api.is_superuser:
        raise err.RBAC_PERMISSION_DENIED(f"xe.{context.command.name}", "pool-admin")


@command("log-get")
async def get(context: Context) -> None:
    """Print the latest lines of the log, with ``key`` those of one source."""
    _administrator_only(context)
    key = context.words.get("key")
    context.printer.listing(line for line in RECENT.lines() if not key or f" {key}: " in line)


@command("log-get-keys")
async def get_keys(context: Context) -> None:
    """Print the names of what logs."""
    _administrator_only(context)
    names = [n for n, x in logging.root.manager.loggerDict.items() if isinstance(x, logging.Logger)]
    context.printer.listing(sorted(names))


@command("log-set-output")
async def set_output(context: Context) -> None:
    """Set from which level on one source, or all, is logged; ``output=nil`` turns it off.

    Where the lines go is the service manager's business.
    """
    _administrator_only(context)
    words = context.words
    output = words.need("output").partition(":")[0]
    level = LEVELS.get(words.get("level", "debug"))
    if output not in OUTPUTS or level is None:
        raise CommandFailed(
            f"output is one of {', '.join(OUTPUTS)}, level one of {', '.join(LEVELS)}"
        )
    key = words.get("key")
    if key and key not in logging.root.manager.loggerDict:
        raise CommandFailed(f"Nothing logs as '{key}': see log-get-keys")
    logging.getLogger(key or None).setLevel(logging.CRITICAL + 1 if output == "nil" else level)


@command("log-reopen")
async def reopen(context: Context) -> None:
    """Open the files of the log anew, after they were moved away."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()  # the next line opens the file again
