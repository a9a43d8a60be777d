"""High availability of the pool: questions are answered, switching it on is refused.

Source: facts/traces, poolhost-114 to -117 and -204 to -208; brief POOL 17.
"""

from xapi_py.api.call import Call
from xapi_py.api.licence import require_feature
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan.placement import agility_error

PROTECTED = "restart"


@message("pool.enable_ha")
def enable_ha(call: Call, heartbeat_srs: tuple[Ref, ...], configuration: dict[str, str]) -> None:
    """Switch high availability on.

    Errors, in this order: LICENCE_RESTRICTION, HA_IS_ENABLED,
    CANNOT_CREATE_STATE_FILE without a shared SR, HA_NOT_INSTALLED: no host has
    the watching daemon yet.
    """
    require_feature(call, "enable_xha", "HA")
    pool = call.db.row("pool", call.toolstack.pool)
    if pool.ha_enabled:
        raise err.HA_IS_ENABLED()
    chosen = [call.db.row("SR", ref) for ref in heartbeat_srs] or call.db.rows("SR")
    if not any(sr.shared and not sr.is_tools_sr for sr in chosen):
        raise err.CANNOT_CREATE_STATE_FILE()
    raise err.HA_NOT_INSTALLED(pool.master)


@message("pool.ha_schedule_plan_recomputation")
def ha_schedule_plan_recomputation(call: Call) -> None:
    """Make the plan for failures anew: it is made whenever somebody asks."""


@message("pool.disable_ha")
def disable_ha(call: Call) -> None:
    """Switch high availability off.  Errors: HA_NOT_ENABLED."""
    raise err.HA_NOT_ENABLED()


@message("pool.ha_prevent_restarts_for")
def ha_prevent_restarts_for(call: Call, seconds: int) -> None:
    """Restart no guests for a while: none are restarted while it is off."""


@message("pool.set_ha_host_failures_to_tolerate")
def set_ha_host_failures_to_tolerate(call: Call, self: Ref, value: int) -> None:
    """Say how many hosts may fail.  Errors: INVALID_VALUE below zero."""
    call.db.row("pool", self)
    if value < 0:
        raise err.INVALID_VALUE("ha_host_failures_to_tolerate", str(value))
    with call.db.transaction() as tx:
        tx.set("pool", self, "ha_host_failures_to_tolerate", value)


@message("pool.ha_failover_plan_exists")
def ha_failover_plan_exists(call: Call, n: int) -> bool:
    """Tell whether protected guests survive the loss of any ``n`` hosts."""
    return bool(n <= ha_compute_max_host_failures_to_tolerate(call))


@message("pool.ha_compute_max_host_failures_to_tolerate")
def ha_compute_max_host_failures_to_tolerate(call: Call) -> int:
    """Give how many hosts may fail with every protected guest restarted."""
    return _tolerated(call, any(_is_protected(vm) for vm in call.db.rows("VM")))


@message("pool.ha_compute_hypothetical_max_host_failures_to_tolerate")
def ha_compute_hypothetical_max_host_failures_to_tolerate(
    call: Call, configuration: dict[Ref, str]
) -> int:
    """Do so for the guests and priorities given."""
    for vm in configuration:
        call.db.row("VM", vm)
    return _tolerated(call, PROTECTED in configuration.values())


def _tolerated(call: Call, anything_protected: bool) -> int:
    """Without protected guests all hosts may fail; a lone host with one may not."""
    return 0 if anything_protected else call.db.count("host")


def _is_protected(vm: Row) -> bool:
    return bool(vm.ha_always_run and vm.ha_restart_priority == PROTECTED)


@message("pool.ha_compute_vm_failover_plan")
def ha_compute_vm_failover_plan(
    call: Call, failed_hosts: tuple[Ref, ...], failed_vms: tuple[Ref, ...]
) -> dict[Ref, dict[str, str]]:
    """Map guests of failed hosts to where they restart, or why they cannot."""
    for host in failed_hosts:
        call.db.row("host", host)
    plan: dict[Ref, dict[str, str]] = {}
    for vm in failed_vms:
        problem = agility_error(call.db, call.db.row("VM", vm))
        code = problem.code if problem is not None else "HOST_NOT_ENOUGH_FREE_MEMORY"
        plan[vm] = {"error_code": code}
    return plan


@message("pool.enable_redo_log")
def enable_redo_log(call: Call, sr: Ref) -> None:
    """Keep the database on a shared SR as well.

    Errors: REDO_LOG_IS_ENABLED, CANNOT_ENABLE_REDO_LOG.
    """
    if call.db.row("pool", call.toolstack.pool).redo_log_enabled:
        raise err.REDO_LOG_IS_ENABLED()
    if call.db.find("SR", sr) is None:
        raise err.CANNOT_ENABLE_REDO_LOG(
            "failed to create a VDI for the redo log on the SR with the given UUID."
        )
    raise err.CANNOT_ENABLE_REDO_LOG("the database has no redo log yet")


@message("pool.disable_redo_log")
def disable_redo_log(call: Call) -> None:
    """Keep the database on this host only; nothing to do when it is so."""
    with call.db.transaction() as tx:
        tx.update("pool", call.toolstack.pool, redo_log_enabled=False, redo_log_vdi=NULL_REF)
