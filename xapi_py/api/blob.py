"""Messages of class blob: small files that clients keep with the pool's records.

Their content travels over HTTP, see ``xapi_py.transfer.blobs``.
"""

from pathlib import Path

from xapi_py.api.call import Call
from xapi_py.api.new_blob import DEFAULT_TYPE, named_blob
from xapi_py.api.registry import message
from xapi_py.base.names import Ref, Uuid
from xapi_py.base.slices import Steps, finished
from xapi_py.db.database import Database

AT_ONCE = 500
"""Objects looked at between two interruptions."""

HOLDERS = ("VM", "VDI", "SR", "host", "network", "pool")
"""Classes whose objects may hold blobs."""


def content_path(state: Path, uuid: Uuid) -> Path:
    """Give the file of a blob's content; there is none while nothing was uploaded."""
    return state / "blobs" / uuid


@message("blob.create")
def create(call: Call, mime_type: str, public: bool = False) -> Ref:
    """Make an empty blob no object holds."""
    with call.db.transaction() as tx:
        return tx.create("blob", {"mime_type": mime_type or DEFAULT_TYPE, "public": public})


@message("blob.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Remove a blob with its content, also from the objects that hold it.

    Linear in the objects there are, in slices: nobody waits for it.
    """
    row = call.db.row("blob", self)
    with call.db.transaction() as tx:
        tx.delete("blob", self)
    content_path(call.toolstack.settings.state, row.uuid).unlink(missing_ok=True)
    await finished(call.toolstack.slices.run(_let_go(call.db, self)))


def _let_go(db: Database, blob: Ref) -> Steps[None]:
    for cls in HOLDERS:
        if "blobs" not in db.tables[cls].columns:
            continue
        for number, holder in enumerate(db.rows(cls)):
            for name in [n for n, ref in holder.blobs.items() if ref == blob]:
                if db.find(cls, holder.ref) is not None:
                    with db.transaction() as tx:
                        tx.remove_from_map(cls, holder.ref, "blobs", name)
            if number % AT_ONCE == 0:
                yield


@message("SR.create_new_blob")
def create_sr_blob(call: Call, sr: Ref, name: str, mime_type: str, public: bool = False) -> Ref:
    """Make an empty blob of an SR."""
    return named_blob(call, "SR", sr, name, mime_type, public)


@message("network.create_new_blob")
def create_network_blob(
    call: Call, network: Ref, name: str, mime_type: str, public: bool = False
) -> Ref:
    """Make an empty blob of a network."""
    return named_blob(call, "network", network, name, mime_type, public)
