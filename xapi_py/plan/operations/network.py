"""Network operations: attaching is never offered, only performed."""

from xapi_py.base.errors import ApiError
from xapi_py.db.row import Row
from xapi_py.db.view import View

ALL_OPERATIONS = ("attaching",)


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Let every number of attaches run beside each other."""
    return None


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List nothing: servers leave the field empty."""
    return ()


DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
