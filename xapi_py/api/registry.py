"""Which function answers which message.

The code of message ``VDI.resize`` is the function ``resize`` of
``xapi_py/api/vdi.py`` under ``@message("VDI.resize")``.  Getters, setters and
the other implicit messages need no function; one that is registered for an
implicit message (``VM.create``) takes the place of the generic code.
"""

import importlib
import pkgutil
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from xapi_py.base.slices import Steps

Handler = Callable[..., Any]
"""Called as ``handler(call, *arguments)``; gives a data value or a coroutine of one, or a
Deferred where it only waits and changes nothing."""

ResultEncoder = Callable[[Any, Any, Any], list[bytes] | Steps[list[bytes]]]
"""Called as ``encoder(dialect, model, value)``; gives the fragments of the result, or the
steps that make them when there are many."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A function and how its result is put on the wire (None: by the model)."""

    handler: Handler
    encoder: ResultEncoder | None


class _Decorator(Protocol):
    def __call__(self, handler: Handler) -> Handler: ...


HANDLERS: dict[str, Registration] = {}


def message(wire_name: str, *, encoder: ResultEncoder | None = None) -> _Decorator:
    """Register the decorated function as the code of ``wire_name``.

    Errors: ValueError when the message has a function already.
    """

    def register(handler: Handler) -> Handler:
        if wire_name in HANDLERS:
            raise ValueError(f"{wire_name} is registered twice")
        HANDLERS[wire_name] = Registration(handler, encoder)
        return handler

    return register


def load_all() -> dict[str, Registration]:
    """Import every module below ``xapi_py.api`` and give the filled table."""
    package = importlib.import_module("xapi_py.api")
    for module in pkgutil.walk_packages(package.__path__, "xapi_py.api."):
        importlib.import_module(module.name)
    return HANDLERS


Result = Coroutine[Any, Any, Any]
