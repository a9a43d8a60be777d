"""How the messages of storage classes reach the storage daemon of the right host.

Calls that change an SR's content go to one host: the master when it has a
shared SR plugged, else the first live host that has.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from xapi_py.api import operations
from xapi_py.api.call import Call
from xapi_py.api.operations import Claim, operation
from xapi_py.api.storage_errors import TROUBLE, storage_error
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.waiting import sleep
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.pool.following import result_of

DEADLINE_S = 1200.0
"""For everything but copies; drivers have shorter time limits of their own."""

COPY_DEADLINE_S = 24 * 3600.0

BUSY_PATIENCE_S = 20.0
BUSY_PAUSE_S = 0.05


def hosts_of(call: Call, sr: Row) -> list[Ref]:
    """List the live hosts that have the SR plugged, the master first."""
    master = call.db.row("pool", call.toolstack.pool).master
    live = {gateway.host for gateway in call.toolstack.hosts.live()}
    pbds = [call.db.row("PBD", ref) for ref in sr.PBDs]
    found = [p.host for p in pbds if p.currently_attached and p.host in live]
    return sorted(found, key=lambda host: host != master)


def host_of(call: Call, sr: Row) -> Ref:
    """Choose the host that works on the SR.  Errors: SR_HAS_NO_PBDS."""
    hosts = hosts_of(call, sr)
    if not hosts:
        raise err.SR_HAS_NO_PBDS(sr.ref)
    return hosts[0]


async def on_host(
    call: Call,
    host: Ref,
    method: str,
    params: dict[str, object],
    *,
    sr: Ref = NULL_REF,
    vdi: Ref = NULL_REF,
    deadline_s: float = DEADLINE_S,
) -> Any:
    """Call a host's storage daemon; ``sr`` and ``vdi`` are what errors name."""
    daemon = call.host(host).sm
    try:
        return await daemon.call(method, params, dbg=call.dbg, deadline_s=deadline_s)
    except TROUBLE as problem:
        raise storage_error(problem, call.db, sr, vdi) from problem


async def read_on_host(
    call: Call, host: Ref, method: str, params: dict[str, object], *, sr: Ref = NULL_REF
) -> Any:
    """Call a method of a host's storage daemon that changes nothing."""
    try:
        return result_of(await call.host(host).sm.read(method, params, dbg=call.dbg))
    except TROUBLE as problem:
        raise storage_error(problem, call.db, sr, NULL_REF) from problem


async def on_sr(call: Call, sr: Row, method: str, **params: object) -> Any:
    """Call a method on an SR where it is plugged.  Errors: SR_HAS_NO_PBDS, the daemon's."""
    return await on_host(call, host_of(call, sr), method, {"sr": sr.uuid, **params}, sr=sr.ref)


async def on_vdi(call: Call, vdi: Row, method: str, **params: object) -> Any:
    """Call a method on a disk where its SR is plugged.  Errors: as ``on_sr``."""
    sr = call.db.row("SR", vdi.SR)
    whole = {"sr": sr.uuid, "vdi": vdi.uuid, **params}
    return await on_host(call, host_of(call, sr), method, whole, sr=sr.ref, vdi=vdi.ref)


@asynccontextmanager
async def storage_operation(call: Call, *claims: Claim) -> AsyncIterator[None]:
    """Hold operations as ``operation`` does, after waiting for an SR that is busy.

    Only what another operation on the SR itself forbids is waited for, and
    only for a while: scans are short, and clients start them at any time.
    """
    deadline = call.toolstack.clock.seconds() + BUSY_PATIENCE_S
    while True:
        try:
            operations.check(call, *claims)
            break
        except ApiError as problem:
            busy = problem.code == "OTHER_OPERATION_IN_PROGRESS" and problem.params[0] == "SR"
            if not busy or call.toolstack.clock.seconds() >= deadline:
                raise
        await sleep(call.toolstack.clock, BUSY_PAUSE_S)
    async with operation(call, *claims):
        yield


def check_driver(call: Call, sr_type: str) -> Row:
    """Find the SM record of an SR type.  Errors: SR_UNKNOWN_DRIVER."""
    for sm in call.db.rows("SM"):
        if sm.type == sr_type:
            return sm
    raise err.SR_UNKNOWN_DRIVER(sr_type)


def supports(call: Call, sr: Row, feature: str) -> bool:
    """Tell whether the driver of an SR lists a feature."""
    return feature in check_driver(call, sr.type).features
