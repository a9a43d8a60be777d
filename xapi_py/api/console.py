"""Messages of class console; records come and go with what the domain daemon reports."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("console.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    """Refuse, as real servers do.  Errors: NOT_IMPLEMENTED."""
    constructor_fields(call, "console", args, references=False)
    raise err.NOT_IMPLEMENTED("Console.create")


@message("console.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Refuse, as real servers do.  Errors: NOT_IMPLEMENTED."""
    raise err.NOT_IMPLEMENTED("Console.destroy")
