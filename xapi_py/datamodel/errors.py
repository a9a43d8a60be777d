"""Error codes of the API as constants; calling one makes the exception.

    raise errors.VM_BAD_POWER_STATE(ref, "halted", "running")

Codes carry the parameters of the newest profile;
``Model.as_sent`` gives them in the form of a profile.
"""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel._generated.error_codes import *  # noqa: F403
from xapi_py.datamodel._generated.error_codes import STORAGE_ERRORS


def storage_failure(number: int, description: str = "", *details: str) -> ApiError:
    """Make the error for a failure a storage driver reports by number.

    The parameters are the status word, the description and whatever else the
    driver said; ``STORAGE_ERRORS`` gives the names of the numbers.
    """
    return ApiError(f"SR_BACKEND_FAILURE_{number}", "", description, *details)


def storage_error_name(number: int) -> str | None:
    """Give the name of a storage error number, ``None`` if it has none."""
    return STORAGE_ERRORS.get(number)
