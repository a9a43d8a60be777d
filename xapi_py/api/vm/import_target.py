"""Where an import's disks go."""

from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row


def import_sr(toolstack: Toolstack, sr: Ref) -> Row:
    """Give the SR, the pool's default one for none.

    Errors: DEFAULT_SR_NOT_FOUND, HANDLE_INVALID.
    """
    if sr not in ("", NULL_REF):
        return toolstack.db.row("SR", sr)
    default = toolstack.db.row("pool", toolstack.pool).default_SR
    row = toolstack.db.find("SR", default)
    if row is None:
        raise err.DEFAULT_SR_NOT_FOUND(default or NULL_REF)
    return row
