"""Which function runs which command.

The code of ``vm-install`` is the function under ``@command("vm-install")`` in
a module of ``xapi_py/cli/commands``; commands that the table describes in
full, and those on fields, need none.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from functools import cache

from xapi_py.cli.context import Context

Run = Callable[[Context], Awaitable[None]]

_COMMANDS: dict[str, Run] = {}


def command(*names: str) -> Callable[[Run], Run]:
    """Register the decorated function as the code of the named commands.

    Errors: ValueError when one has a function already.
    """

    def register(run: Run) -> Run:
        for name in names:
            if name in _COMMANDS:
                raise ValueError(f"{name} is registered twice")
            _COMMANDS[name] = run
        return run

    return register


@cache
def load_commands() -> dict[str, Run]:
    """Import every module of commands and give the filled table."""
    package = importlib.import_module("xapi_py.cli.commands")
    for module in pkgutil.iter_modules(package.__path__, "xapi_py.cli.commands."):
        importlib.import_module(module.name)
    return _COMMANDS
