"""Messages of class auth: questions to the external directory."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.datamodel import errors as err
from xapi_py.session.directory import Directory, DirectoryUser


@message("auth.get_subject_identifier")
async def get_subject_identifier(call: Call, subject_name: str) -> str:
    """Give the identifier of a user or group.

    Errors: AUTH_IS_DISABLED, SUBJECT_CANNOT_BE_RESOLVED.
    """
    user = await _directory(call).by_name(subject_name)
    return _known(user).sid


@message("auth.get_subject_information_from_identifier")
async def get_subject_information_from_identifier(
    call: Call, subject_identifier: str
) -> dict[str, str]:
    """Describe a user or group.  Errors: as ``get_subject_identifier``."""
    user = _known(await _directory(call).by_sid(subject_identifier))
    return {
        "subject-name": user.name,
        "subject-sid": user.sid,
        "subject-is-group": "true" if user.password is None else "false",
        **user.information,
    }


@message("auth.get_group_membership")
async def get_group_membership(call: Call, subject_identifier: str) -> tuple[str, ...]:
    """Give the identifiers of the groups a user belongs to."""
    return _known(await _directory(call).by_sid(subject_identifier)).groups


def _directory(call: Call) -> Directory:
    directory = call.toolstack.login.enabled_directory()
    if directory is None:
        raise err.AUTH_IS_DISABLED()
    return directory


def _known(user: DirectoryUser | None) -> DirectoryUser:
    if user is None:
        raise err.SUBJECT_CANNOT_BE_RESOLVED()
    return user
