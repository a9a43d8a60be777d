"""Making SRs: on new storage, from what is on storage already, and looking what is there."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xapi_py.api import pbd
from xapi_py.api.call import Call
from xapi_py.api.device_secrets import for_driver, from_driver, in_clear
from xapi_py.api.registry import message
from xapi_py.api.sr.removal import delete_rows
from xapi_py.api.storage_calls import check_driver, on_host
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref, Uuid, new_uuid
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.pool.storage_records import find_uuid

log = logging.getLogger(__name__)

MAKING = "xapi-py-making"
"""Key of other_config of an SR that ``create`` is still at work on; see ``unfinished``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an SR is to be; ``extra`` are further fields of its row."""

    type: str
    device_config: Mapping[str, str]
    name_label: str
    name_description: str = ""
    content_type: str = ""
    shared: bool = False
    physical_size: int = 0
    sm_config: Mapping[str, str] = field(default_factory=dict)
    other_config: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@message("SR.create")
async def create(
    call: Call,
    host: Ref,
    device_config: dict[str, str],
    physical_size: int,
    name_label: str,
    name_description: str,
    type: str,
    content_type: str,
    shared: bool,
    sm_config: dict[str, str],
) -> Ref:
    """Make an SR on new storage, with a PBD for each host that is to use it, plugged.

    A PBD that cannot be plugged is left unplugged.  Errors: HOST_OFFLINE,
    SR_UNKNOWN_DRIVER, the driver's; then nothing stays behind.
    """
    wanted = Wanted(
        type,
        device_config,
        name_label,
        name_description,
        content_type,
        shared,
        physical_size,
        sm_config,
    )
    return await make(call, host, wanted)


async def make(call: Call, host: Ref, wanted: Wanted) -> Ref:
    """Make an SR as ``create`` does."""
    call.host(host)
    check_driver(call, wanted.type)
    if pbd.RESERVED_KEY in wanted.device_config:
        raise err.INVALID_VALUE("device_config", pbd.RESERVED_KEY)
    async with Undo() as undo:
        sr = _unfinished_row(call, wanted)
        undo.push("delete the SR's record", lambda: _delete(call, sr))
        parameters = _parameters(call, sr, host, wanted)
        made = await on_host(call, host, "SR.create", parameters, sr=sr)
        undo.push("remove the SR", lambda: _unmake(call, host, parameters, made))
        stored_config = _stored_config(call, wanted.device_config, made["device_config"])
        pbds = _finish(call, sr, host, wanted, stored_config, made["sm_config"])
        await call.db.durable()
    for ref in pbds:
        await _plug_if_possible(call, ref)
    return sr


def _unfinished_row(call: Call, wanted: Wanted) -> Ref:
    """Make the row drivers and clients see while the SR is being made."""
    with call.db.transaction() as tx:
        return tx.create(
            "SR",
            {
                "uuid": new_uuid(),
                "name_label": wanted.name_label,
                "name_description": wanted.name_description,
                "type": wanted.type,
                "content_type": wanted.content_type,
                "shared": wanted.shared,
                "physical_size": wanted.physical_size,
                "sm_config": dict(wanted.sm_config),
                "other_config": {**wanted.other_config, MAKING: "true"},
                **wanted.extra,
            },
        )


def _parameters(call: Call, sr: Ref, host: Ref, wanted: Wanted) -> dict[str, Any]:
    return {
        "sr": call.db.row("SR", sr).uuid,
        "type": wanted.type,
        "device_config": _for_driver(call, host, wanted.device_config),
        "sm_config": dict(wanted.sm_config),
        "name_label": wanted.name_label,
        "name_description": wanted.name_description,
        "physical_size": wanted.physical_size,
    }


def _stored_config(call: Call, given: Mapping[str, str], made: Mapping[str, str]) -> dict[str, str]:
    """Give what a driver wants kept, with the caller's secrets in place of clear text."""
    clear = in_clear(call.db, given)
    kept = from_driver(given, made)
    return {**given, **{k: v for k, v in kept.items() if clear.get(k) != v}}


def _for_driver(call: Call, host: Ref, config: Mapping[str, str]) -> dict[str, str]:
    """Give the device_config for a host that works on an SR alone, whatever the pool does."""
    return for_driver(call.db, call.toolstack.pool, host, config, shared=False)


def _finish(
    call: Call,
    sr: Ref,
    host: Ref,
    wanted: Wanted,
    config: dict[str, str],
    sm_config: Mapping[str, str],
) -> list[Ref]:
    """Make the PBDs and take the mark away, in one transaction; the given host comes first."""
    others = [h for h in call.db.refs("host") if h != host] if wanted.shared else []
    with call.db.transaction() as tx:
        row = call.db.row("SR", sr)
        kept = {k: v for k, v in row.other_config.items() if k != MAKING}
        tx.update("SR", sr, other_config=kept, sm_config={**row.sm_config, **sm_config})
        return [
            pbd.create(call, {"host": h, "SR": sr, "device_config": config})
            for h in (host, *others)
        ]


async def _plug_if_possible(call: Call, ref: Ref) -> None:
    try:
        await pbd.plug(call, ref)
    except ApiError as problem:
        log.warning("%s is not plugged: %s", ref, problem.description)


async def _unmake(
    call: Call, host: Ref, parameters: Mapping[str, Any], made: Mapping[str, Any]
) -> None:
    """Remove an SR that was just made from its storage."""
    attach = {
        "sr": parameters["sr"],
        "type": parameters["type"],
        "device_config": {**parameters["device_config"], **made["device_config"]},
        "sm_config": made["sm_config"],
    }
    await on_host(call, host, "SR.attach", attach)
    await on_host(call, host, "SR.destroy", {"sr": parameters["sr"]})


def _delete(call: Call, sr: Ref) -> None:
    if call.db.find("SR", sr) is not None:
        with call.db.transaction() as tx:
            delete_rows(call.db, tx, sr)


def unfinished(call: Call) -> list[Ref]:
    """List SRs whose making was cut short by the end of an earlier process."""
    return [row.ref for row in call.db.rows("SR") if MAKING in row.other_config]


def discard_unfinished(call: Call) -> None:
    """Delete the records of SRs whose making was cut short; call it at start only."""
    for sr in unfinished(call):
        _delete(call, sr)


@message("SR.introduce")
def introduce(
    call: Call,
    uuid: str,
    name_label: str,
    name_description: str,
    type: str,
    content_type: str,
    shared: bool,
    sm_config: dict[str, str],
) -> Ref:
    """Make the record of an SR that is on storage already.  Errors: SR_UUID_EXISTS."""
    wanted = Uuid(uuid) if uuid else new_uuid()
    if find_uuid(call.db, "SR", wanted) is not None:
        raise err.SR_UUID_EXISTS(wanted)
    with call.db.transaction() as tx:
        return tx.create(
            "SR",
            {
                "uuid": wanted,
                "name_label": name_label,
                "name_description": name_description,
                "type": type,
                "content_type": content_type,
                "shared": shared,
                "sm_config": dict(sm_config),
                "physical_size": -1,
                "physical_utilisation": -1,
            },
        )


@message("SR.make")
def make_deprecated(call: Call, *arguments: object) -> str:
    """Refuse.  Errors: MESSAGE_DEPRECATED."""
    raise err.MESSAGE_DEPRECATED()


@message("SR.probe")
async def probe(
    call: Call,
    host: Ref,
    device_config: dict[str, str],
    type: str,
    sm_config: dict[str, str],
) -> str:
    """Look what SRs there are on storage; gives the driver's XML.

    Errors: HOST_OFFLINE, SR_UNKNOWN_DRIVER, the driver's: those for missing
    parameters carry a document with what to choose from.
    """
    return str(await _probe(call, host, "SR.probe", device_config, type, sm_config))


@message("SR.probe_ext")
async def probe_ext(
    call: Call,
    host: Ref,
    device_config: dict[str, str],
    type: str,
    sm_config: dict[str, str],
) -> tuple[dict[str, Any], ...]:
    """Look what SRs there are on storage, as records.

    Errors: as ``probe``; SR_OPERATION_NOT_SUPPORTED for older drivers.
    """
    found = await _probe(call, host, "SR.probe_ext", device_config, type, sm_config)
    return tuple(_probe_result(result) for result in found)


async def _probe(
    call: Call,
    host: Ref,
    method: str,
    device_config: dict[str, str],
    sr_type: str,
    sm_config: dict[str, str],
) -> Any:
    call.host(host)
    check_driver(call, sr_type)
    config = _for_driver(call, host, device_config)
    params: dict[str, object] = {
        "type": sr_type,
        "device_config": config,
        "sm_config": sm_config,
    }
    return await on_host(call, host, method, params)


SR_STAT_MEMBERS = (
    "uuid", "name_label", "name_description", "free_space", "total_space", "clustered", "health"
)  # fmt: skip


def _probe_result(result: Mapping[str, Any]) -> dict[str, Any]:
    found = result["sr"]
    stat = None if found is None else {name: found[name] for name in SR_STAT_MEMBERS}
    return {**result, "sr": stat}
