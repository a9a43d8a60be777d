"""Messages of class host_crashdump.  Simulated hosts leave no dumps."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("host_crashdump.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove the record of a dump."""
    call.db.row("host_crashdump", self)
    with call.db.transaction() as tx:
        tx.delete("host_crashdump", self)


@message("host_crashdump.upload")
def upload(call: Call, self: Ref, url: str, options: dict[str, str]) -> None:
    """Send a dump to the maker of the product, who takes none from us.

    Errors: INVALID_VALUE for the empty address, OPERATION_NOT_ALLOWED.
    """
    call.db.row("host_crashdump", self)
    if not url:
        raise err.INVALID_VALUE("url", "")
    raise err.OPERATION_NOT_ALLOWED("Crash dumps are downloaded, not sent")
