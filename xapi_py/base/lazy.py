"""Modules that are loaded when they are first used.

For large libraries that no client waits for: a server that was killed is to
answer again soon.
"""

import importlib
from typing import Any

_names: list[str] = []


class LazyModule:
    """Stands for the module of a name; all public names are that module's."""

    def __init__(self, name: str) -> None:
        self._name = name
        _names.append(name)

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # found without this method from now on
        return value


def load_all() -> None:
    """Load all of them, so that the first use finds them there; may run in a thread."""
    for name in _names:
        importlib.import_module(name)
