"""Messages of class network_sriov: virtual functions of NICs for VMs."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.api.pif.plug import plug_pif, unplug_pif
from xapi_py.api.registry import message
from xapi_py.base.errors import ApiError, ErrorCode
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import sriov as sriov_plan
from xapi_py.pool.network_records import delete_pif

CAPABILITY = "sriov"


@message("network_sriov.create")
async def create(call: Call, pif: Ref, network: Ref) -> Ref:
    """Offer the virtual functions of a NIC on a network.

    Errors: NETWORK_UNMANAGED, NETWORK_ALREADY_CONNECTED, PIF_UNMANAGED,
    PIF_IS_NOT_PHYSICAL, PIF_IS_NOT_SRIOV_CAPABLE, NETWORK_SRIOV_ALREADY_ENABLED,
    NETWORK_INCOMPATIBLE_WITH_SRIOV, NETWORK_HAS_INCOMPATIBLE_SRIOV_PIFS,
    NETWORK_SRIOV_ENABLE_FAILED.
    """
    row = call.db.row("PIF", pif)
    on = call.db.row("network", network)
    checks.network_is_free(call, on, Ref(row.host))
    checks.managed(row)
    if not row.physical:
        raise err.PIF_IS_NOT_PHYSICAL(pif)
    if CAPABILITY not in row.capabilities:
        raise err.PIF_IS_NOT_SRIOV_CAPABLE(pif)
    if len(row.sriov_physical_PIF_of):
        raise err.NETWORK_SRIOV_ALREADY_ENABLED(pif)
    for ref in on.PIFs:
        if not len(call.db.row("PIF", ref).sriov_logical_PIF_of):
            raise err.NETWORK_INCOMPATIBLE_WITH_SRIOV(network)
    if sriov_plan.other_card(call.db, on, row):
        raise err.NETWORK_HAS_INCOMPATIBLE_SRIOV_PIFS(pif, network)
    sriov, logical = _make(call, row, network)
    try:
        await plug_pif(call, logical)
    except ApiError as problem:
        _delete(call, call.db.row("network_sriov", sriov))
        raise _failed(err.NETWORK_SRIOV_ENABLE_FAILED, problem, pif) from problem
    return sriov


def _failed(code: ErrorCode, problem: ApiError, pif: str) -> ApiError:
    """Tell what a card refused in the words of its host."""
    if problem.code != err.PIF_CONFIGURATION_ERROR.code:
        return problem
    return code(pif, problem.params[1])


def _make(call: Call, pif: Row, network: Ref) -> tuple[Ref, Ref]:
    fields: dict[str, Any] = {
        "device": pif.device,
        "network": network,
        "host": pif.host,
        "MAC": pif.MAC,
        "MTU": pif.MTU,
        "VLAN": -1,
        "metrics": pif.metrics,
        "physical": False,
        "currently_attached": False,
        "bond_slave_of": NULL_REF,
        "VLAN_master_of": NULL_REF,
    }
    with call.db.transaction() as tx:
        logical = tx.create("PIF", fields)
        sriov = tx.create(
            "network_sriov",
            {"physical_PIF": pif.ref, "logical_PIF": logical, "configuration_mode": "sysfs"},
        )
    return sriov, logical


@message("network_sriov.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Take virtual functions away from a network.

    Errors: PIF_VLAN_STILL_EXISTS, VIF_IN_USE, NETWORK_SRIOV_DISABLE_FAILED; all is as before then.
    """
    row = call.db.row("network_sriov", self)
    logical = call.db.find("PIF", row.logical_PIF)
    if logical is not None:
        if len(logical.VLAN_slave_of):
            raise err.PIF_VLAN_STILL_EXISTS(logical.ref)
        checks.no_vif_in_use(call, logical)
        try:
            await unplug_pif(call, logical)
        except ApiError as problem:
            failed = err.NETWORK_SRIOV_DISABLE_FAILED
            raise _failed(failed, problem, row.physical_PIF) from problem
    _delete(call, row)


def _delete(call: Call, sriov: Row) -> None:
    logical = call.db.find("PIF", sriov.logical_PIF)
    with call.db.transaction() as tx:
        if logical is not None:
            delete_pif(call.db, tx, logical, shared_metrics=True)
        tx.delete("network_sriov", sriov.ref)


@message("network_sriov.get_remaining_capacity")
def get_remaining_capacity(call: Call, self: Ref) -> int:
    """Give how many virtual functions no VM holds."""
    return len(sriov_plan.free(call.db, call.db.row("network_sriov", self)))
