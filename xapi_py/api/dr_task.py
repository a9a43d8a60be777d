"""Messages of class DR_task: SRs of another pool, introduced for disaster recovery."""

from xml.etree import ElementTree

from xapi_py.api import pbd
from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.sr.create import introduce, probe
from xapi_py.api.sr.removal import forget
from xapi_py.base.names import Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.pool.storage_records import find_uuid

METADATA = {"metadata": "true"}


@message("DR_task.create")
async def create(
    call: Call, type: str, device_config: dict[str, str], whitelist: tuple[str, ...]
) -> Ref:
    """Look for SRs on storage and introduce those whose uuids ``whitelist`` names.

    SRs the pool knows already are left alone.  Errors: INTERNAL_ERROR for an
    unknown driver, OPERATION_NOT_ALLOWED for one that keeps no names on
    storage, those of probing and plugging; then nothing stays behind.
    """
    _check_driver(call, type)
    master = call.db.row("pool", call.toolstack.pool).master
    found = _described(await probe(call, master, device_config, type, METADATA))
    wanted = [
        (uuid, label, text)
        for uuid, label, text in found
        if uuid in whitelist and find_uuid(call.db, "SR", uuid) is None
    ]
    async with Undo() as undo:
        with call.db.transaction() as tx:
            task = tx.create("DR_task", {})
        undo.push("remove the DR task", lambda: destroy(call, task))
        for uuid, label, text in wanted:
            sr = introduce(call, uuid, label, text, type, "", True, {})
            with call.db.transaction() as tx:
                tx.set("SR", sr, "introduced_by", task)
            for host in call.db.refs("host"):
                ref = pbd.create(call, {"host": host, "SR": sr, "device_config": device_config})
                await pbd.plug(call, ref)
    return task


def _check_driver(call: Call, sr_type: str) -> None:
    for sm in call.db.rows("SM"):
        if sm.type == sr_type:
            if "SR_METADATA" not in sm.features:
                raise err.OPERATION_NOT_ALLOWED(
                    f"Disaster recovery not supported on SRs of type {sr_type}"
                )
            return
    raise err.INTERNAL_ERROR(f"unknown driver: {sr_type}")


def _described(document: str) -> list[tuple[str, str, str]]:
    """Read uuid, label and description of every SR in a probe's answer."""
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError as problem:
        raise err.INTERNAL_ERROR(f"the probe's answer cannot be read: {problem}") from problem
    found: list[tuple[str, str, str]] = []
    for element in root.iter("SR"):
        texts = {child.tag.lower(): (child.text or "").strip() for child in element}
        if texts.get("uuid"):
            label, text = texts.get("name_label", ""), texts.get("name_description", "")
            found.append((texts["uuid"], label, text))
    return found


@message("DR_task.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Unplug and forget the SRs a task introduced.  Errors: those of PBD.unplug."""
    row = call.db.row("DR_task", self)
    for sr in tuple(row.introduced_SRs):
        for ref in tuple(call.db.row("SR", sr).PBDs):
            await pbd.unplug(call, ref)
        await forget(call, sr)
    with call.db.transaction() as tx:
        tx.delete("DR_task", self)
