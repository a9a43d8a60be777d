"""Joining a host to an external directory.

The directory of a simulated host is a table of its description; who gives a
name and password of that table may join.  Source: brief POOL 9.3.
"""

from collections.abc import Mapping

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.session.directory import LoginRefused

ACTIVE_DIRECTORY = "AD"
SECRET_KEYS = ("user", "pass")
"""What a client sends to join and nobody keeps."""


@message("host.enable_external_auth")
async def enable_external_auth(
    call: Call, host: Ref, config: dict[str, str], service_name: str, auth_type: str
) -> None:
    """Join a host to a directory.

    Errors: AUTH_ALREADY_ENABLED, AUTH_UNKNOWN_TYPE, AUTH_ENABLE_FAILED and its
    variants.
    """
    row = reached(call, host)
    if row.external_auth_type != "":
        raise err.AUTH_ALREADY_ENABLED(row.external_auth_type, row.external_auth_service_name)
    if auth_type != ACTIVE_DIRECTORY:
        raise err.AUTH_UNKNOWN_TYPE(auth_type)
    if not service_name:
        raise err.AUTH_ENABLE_FAILED("The name of the directory is empty")
    await _join(call, config)
    kept = {key: value for key, value in config.items() if key not in SECRET_KEYS}
    with call.db.transaction() as tx:
        tx.update(
            "host",
            host,
            external_auth_type=auth_type,
            external_auth_service_name=service_name,
            external_auth_configuration={"domain": service_name, **kept},
        )


async def _join(call: Call, config: Mapping[str, str]) -> None:
    directory = call.toolstack.login.directory
    if directory is None:
        raise err.AUTH_ENABLE_FAILED_DOMAIN_LOOKUP_FAILED("No such directory is known here")
    for key in SECRET_KEYS:
        if key not in config:
            raise err.AUTH_ENABLE_FAILED(f"The configuration has no {key}")
    try:
        await directory.authenticate(config["user"], config["pass"])
    except LoginRefused as refused:
        raise err.AUTH_ENABLE_FAILED_WRONG_CREDENTIALS(str(refused)) from refused


@message("host.disable_external_auth")
def disable_external_auth(
    call: Call, host: Ref, config: dict[str, str], force: bool = False
) -> None:
    """Leave the directory; a host that is in none stays as it is.

    Sessions of directory users end.
    """
    reached(call, host)
    with call.db.transaction() as tx:
        tx.update(
            "host",
            host,
            external_auth_type="",
            external_auth_service_name="",
            external_auth_configuration={},
        )
    if call.toolstack.login.enabled_directory() is None:
        end_directory_sessions(call)


@message("host.external_auth_set_ldaps")
def external_auth_set_ldaps(call: Call, host: Ref, ldaps: bool, force: bool = False) -> None:
    """Talk TLS with the directory or not.  Errors: AUTH_IS_DISABLED."""
    row = reached(call, host)
    if row.external_auth_type == "":
        raise err.AUTH_IS_DISABLED()
    kept = {**row.external_auth_configuration, "ldaps": "true" if ldaps else "false"}
    with call.db.transaction() as tx:
        tx.set("host", host, "external_auth_configuration", kept)


def end_directory_sessions(call: Call) -> None:
    """Log directory users out."""
    for session in call.toolstack.sessions.all():
        if session.subject_sid:
            call.toolstack.sessions.remove(session)
