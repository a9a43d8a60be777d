"""Enabling, disabling, switching off and on."""

from xapi_py.api.call import Call
from xapi_py.api.host import power
from xapi_py.api.host.plugins import run_plugin
from xapi_py.api.host.reach import reached
from xapi_py.api.operations import operation
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan.operations.host import leave_error
from xapi_py.pool.local_state import AUTO_ENABLE, DISABLED_UNTIL_REBOOT, LocalState

RESTART_DELAY_S = 0.5
"""Time for the answer to reach the client before the server ends."""


@message("host.disable")
def disable(call: Call, host: Ref, auto_enable: bool = True) -> None:
    """Let no more guests start on a host; those that run stay.

    Without ``auto_enable`` it stays disabled over restarts until enabled.
    """
    call.db.row("host", host)
    LocalState(call.toolstack.settings.state).put({AUTO_ENABLE: _text(auto_enable)})
    with call.db.transaction() as tx:
        tx.set("host", host, "enabled", False)


@message("host.enable")
def enable(call: Call, host: Ref) -> None:
    """Let guests start on a host again.

    Errors: HOST_OFFLINE; HOST_DISABLED_UNTIL_REBOOT while it goes down.
    """
    call.db.row("host", host)
    local = LocalState(call.toolstack.settings.state)
    if local.get(DISABLED_UNTIL_REBOOT) == "true":
        raise err.HOST_DISABLED_UNTIL_REBOOT(host)
    reached(call, host)
    local.put({AUTO_ENABLE: "true"})
    with call.db.transaction() as tx:
        tx.set("host", host, "enabled", True)


@message("host.reboot")
async def reboot(call: Call, host: Ref) -> None:
    """Restart a host.  Errors: as ``shutdown``."""
    await _leave(call, host, "reboot")


@message("host.shutdown")
async def shutdown(call: Call, host: Ref) -> None:
    """Switch a host off.

    Errors: HOST_NOT_DISABLED; HOST_IN_USE for a guest or a disk of the
    control domain; HOST_OFFLINE.
    """
    await _leave(call, host, "shutdown")


async def _leave(call: Call, host: Ref, name: str) -> None:
    problem = leave_error(call.db, call.db.row("host", host))
    if problem is not None:
        raise problem
    reached(call, host)
    async with operation(call, ("host", host, name)):
        await power.leave(call, host, comes_back=name == "reboot")


@message("host.prepare_for_poweroff")
def prepare_for_poweroff(call: Call, host: Ref) -> None:
    """Have everything on disk before the power goes: it always is."""
    reached(call, host)


@message("host.power_on")
async def power_on(call: Call, host: Ref) -> None:
    """Start a host that is off, by its ``power_on_mode``.

    Errors: HOST_IS_LIVE, HOST_POWER_ON_MODE_DISABLED, XENAPI_MISSING_PLUGIN.
    """
    row = call.db.row("host", host)
    async with operation(call, ("host", host, "power_on")):
        if call.toolstack.settings.backend == "simulator":
            power.boot(call.toolstack, host)
            return
        args = {"remote_host_uuid": row.uuid, "mode": row.power_on_mode, **row.power_on_config}
        if await run_plugin(call, "power-on-host", "main", args) != "True":
            raise err.INTERNAL_ERROR("The host failed to power on.")


@message("host.restart_agent")
def restart_agent(call: Call, host: Ref) -> None:
    """Restart the API server of a host; guests do not notice."""
    reached(call, host)
    call.toolstack.clock.callLater(RESTART_DELAY_S, call.toolstack.restart)


@message("host.shutdown_agent")
def shutdown_agent(call: Call) -> None:
    """End this API server; what supervises it starts it again."""
    call.toolstack.clock.callLater(RESTART_DELAY_S, call.toolstack.restart)


@message("host.is_in_emergency_mode")
def is_in_emergency_mode(call: Call) -> bool:
    """Tell whether this host has lost its master: a master has not."""
    return False


@message("host.local_assert_healthy")
def local_assert_healthy(call: Call) -> None:
    """Refuse while the host cannot serve: a server that answers can."""


@message("host.set_localdb_key")
def set_localdb_key(call: Call, host: Ref, key: str, value: str) -> None:
    """Write one fact of the host's own file."""
    reached(call, host)
    LocalState(call.toolstack.settings.state).put({key: value})


def _text(value: bool) -> str:
    return "true" if value else "false"
