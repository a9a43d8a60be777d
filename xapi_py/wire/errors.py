"""Requests that cannot be understood."""

from xapi_py.base.errors import ApiError


class WireError(Exception):
    """A request that is no call: answered outside the usual Failure form.

    With ``error`` unset the answer is HTTP ``status`` with an HTML page that
    holds ``reason``.  With ``error`` set it is HTTP 200 and a failure in the
    dialect of the request, without the id that could not be read.
    Source: traces "types" and "text" (malformed documents).
    """

    def __init__(self, reason: str, *, status: int = 500, error: ApiError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.error = error


def internal_error(text: str) -> ApiError:
    """Make the failure for a value that does not fit its declared type."""
    return ApiError("INTERNAL_ERROR", text)
