"""Who is in the pool and who leads it: one host, until pools of several come.

Source: facts/traces, poolhost-198 to -203 and errors-104; briefs POOL 2 to 5.
"""

from xapi_py.api.call import Call
from xapi_py.api.host import plugins
from xapi_py.api.host.management import refuse_with_ha
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan.evacuation import guests


@message("pool.eject")
def eject(call: Call, host: Ref) -> None:
    """Take a host out of the pool.

    Errors: HOST_OFFLINE, HA_IS_ENABLED, OPERATION_NOT_ALLOWED with guests on
    it, INTERNAL_ERROR for the master.
    """
    row = reached(call, host)
    refuse_with_ha(call)
    if host == call.db.row("pool", call.toolstack.pool).master:
        raise err.INTERNAL_ERROR("the master cannot be ejected from its pool")
    if guests(call.db, row):
        raise err.OPERATION_NOT_ALLOWED("VM resident on host")
    raise err.NOT_IMPLEMENTED("pool.eject")


@message("pool.designate_new_master")
def designate_new_master(call: Call, host: Ref) -> None:
    """Hand the lead to another host; nothing to do for the one that has it."""
    call.db.row("host", host)
    if host == call.db.row("pool", call.toolstack.pool).master:
        return
    refuse_with_ha(call)
    raise err.NOT_IMPLEMENTED("pool.designate_new_master")


@message("pool.recover_slaves")
def recover_slaves(call: Call) -> tuple[Ref, ...]:
    """Tell lost members who leads; gives those that were told."""
    return ()


@message("pool.emergency_transition_to_master")
def emergency_transition_to_master(call: Call) -> None:
    """Become master: this host is.  Errors: HA_IS_ENABLED."""
    refuse_with_ha(call)


@message("pool.is_slave")
def is_slave(call: Call, host: Ref) -> bool:
    """Tell whether this server follows another: a master does not."""
    return False


@message("pool.hello")
def hello(call: Call, host_uuid: str, host_address: str) -> str:
    """Answer a member that starts: only hosts of this pool are known."""
    known = {row.uuid for row in call.db.rows("host")}
    return "ok" if host_uuid in known else "unknown_host"


@message("pool.initial_auth")
def initial_auth(call: Call) -> str:
    """Give the pool secret to a host that joins with root's password.

    Errors: RBAC_PERMISSION_DENIED for directory users: the secret makes
    whoever has it the pool's superuser.
    """
    if not call.session.superuser:
        raise err.RBAC_PERMISSION_DENIED(
            "pool.initial_auth", "only the local superuser may add a host to the pool"
        )
    return call.toolstack.settings.pool_secret


@message("pool.sync_database")
def sync_database(call: Call) -> None:
    """Have every host keep a copy of the database now: the answer waits for ours."""


@message("pool.has_extension")
def has_extension(call: Call, self: Ref, name: str) -> bool:
    """Tell whether every host has an extension."""
    call.db.row("pool", self)
    return all(plugins.has_extension(call, host, name) for host in call.db.refs("host"))


@message("pool.audit_log_append")
def audit_log_append(call: Call, line: str) -> None:
    """Add a member's line to the audit log."""
    call.toolstack.audit.append(line)
