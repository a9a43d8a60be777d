"""Joining the whole pool to an external directory, the master first.

Source: brief POOL 9.3; facts/traces, poolhost-193.
"""

from xapi_py.api.call import Call
from xapi_py.api.host import external_auth as on_host
from xapi_py.api.message import create_alert
from xapi_py.api.registry import message
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

_PREFIX = "AUTH_ENABLE_FAILED"


@message("pool.enable_external_auth")
async def enable_external_auth(
    call: Call, pool: Ref, config: dict[str, str], service_name: str, auth_type: str
) -> None:
    """Join all hosts, or none.

    Errors: POOL_AUTH_ALREADY_ENABLED, AUTH_UNKNOWN_TYPE, POOL_AUTH_ENABLE_FAILED
    and its variants with the host that failed.
    """
    row = call.db.row("pool", pool)
    for host in call.db.rows("host"):
        if host.external_auth_type != "":
            raise err.POOL_AUTH_ALREADY_ENABLED(host.ref)
    joined: list[Ref] = []
    for ref in sorted(call.db.refs("host"), key=lambda host: host != row.master):
        try:
            await on_host.enable_external_auth(call, ref, config, service_name, auth_type)
        except ApiError as problem:
            for other in joined:
                on_host.disable_external_auth(call, other, {})
            raise _of_pool(problem, ref) from problem
        joined.append(ref)


def _of_pool(problem: ApiError, host: Ref) -> ApiError:
    if problem.code.startswith(_PREFIX):
        return ApiError(f"POOL_{problem.code}", host, *problem.params)
    return problem


@message("pool.disable_external_auth")
def disable_external_auth(call: Call, pool: Ref, config: dict[str, str]) -> None:
    """Take all hosts out of the directory; its users are logged out."""
    call.db.row("pool", pool)
    with call.db.transaction():
        for host in tuple(call.db.refs("host")):
            on_host.disable_external_auth(call, host, config)


@message("pool.external_auth_set_ldaps")
def external_auth_set_ldaps(call: Call, pool: Ref, ldaps: bool, force: bool = False) -> None:
    """Talk TLS with the directory or not, on all hosts.  Errors: AUTH_IS_DISABLED."""
    call.db.row("pool", pool)
    with call.db.transaction():
        for host in tuple(call.db.refs("host")):
            on_host.external_auth_set_ldaps(call, host, ldaps, force)


@message("pool.detect_nonhomogeneous_external_auth")
def detect_nonhomogeneous_external_auth(call: Call, pool: Ref) -> None:
    """Raise an alert for every host whose directory is not the master's."""
    master = call.db.row("host", call.db.row("pool", pool).master)
    wanted = (master.external_auth_type, master.external_auth_service_name)
    for host in call.db.rows("host"):
        found = (host.external_auth_type, host.external_auth_service_name)
        if found != wanted:
            body = f"host_external_auth_type={found[0]}, host_external_auth_service_name={found[1]}"
            name = "EXTAUTH_IN_POOL_IS_NON_HOMOGENEOUS"
            create_alert(call.toolstack, name, "Host", host.uuid, body)
