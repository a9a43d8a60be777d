"""Blobs that an object holds under a name."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

DEFAULT_TYPE = "application/octet-stream"


def named_blob(call: Call, cls: str, ref: Ref, name: str, mime_type: str, public: bool) -> Ref:
    """Make an empty blob in the object's map ``blobs``; the blob's own name stays empty.

    Errors: HANDLE_INVALID, MAP_DUPLICATE_KEY.  Source: facts/traces, misc-076 to -079.
    """
    if name in call.db.row(cls, ref).blobs:
        raise err.MAP_DUPLICATE_KEY(cls, "blobs", ref, name)
    with call.db.transaction() as tx:
        blob = tx.create("blob", {"mime_type": mime_type or DEFAULT_TYPE, "public": public})
        tx.add_to_map(cls, ref, "blobs", name, blob)
    return blob


@message("pool.create_new_blob")
def create_pool_blob(call: Call, pool: Ref, name: str, mime_type: str, public: bool = False) -> Ref:
    """Make an empty blob of the pool."""
    return named_blob(call, "pool", pool, name, mime_type, public)


@message("host.create_new_blob")
def create_host_blob(call: Call, host: Ref, name: str, mime_type: str, public: bool = False) -> Ref:
    """Make an empty blob of a host."""
    return named_blob(call, "host", host, name, mime_type, public)
