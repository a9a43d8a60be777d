"""Disks made and removed on behalf of VM operations, safe against a crash of the server.

A disk that belongs to an unfinished operation carries ``PENDING`` in its
other_config.  The transaction that completes the operation takes the mark
away; marked disks that are found at start are destroyed.
"""

import logging
from collections.abc import Iterable
from random import uniform

from xapi_py.api.call import Call
from xapi_py.api.registry import HANDLERS
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.base.waiting import sleep
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.db.transaction import Transaction

log = logging.getLogger(__name__)

PENDING = "xapi-py-pending"

BUSY_PATIENCE_S = 60.0
"""How long two clones of one VM wait for each other's turn at a disk."""

BUSY_PAUSE_S = (0.01, 0.05)
_WAITED_FOR = frozenset({"VDI", "SR"})


async def _vdi(call: Call, name: str, *arguments: object) -> object:
    """Call a VDI message; waits for a disk or SR that other work keeps busy."""
    registered = HANDLERS.get(name)
    if registered is None:
        raise err.NOT_IMPLEMENTED(name)
    clock = call.toolstack.clock
    deadline = clock.seconds() + BUSY_PATIENCE_S
    while True:
        try:
            return await registered.handler(call, *arguments)
        except ApiError as problem:
            if not _is_busy(problem) or clock.seconds() >= deadline:
                raise
        await sleep(clock, uniform(*BUSY_PAUSE_S))


def _is_busy(problem: ApiError) -> bool:
    return problem.code == err.OTHER_OPERATION_IN_PROGRESS.code and problem.params[0] in _WAITED_FOR


def condemn(db: Database, tx: Transaction, vdis: Iterable[str], reason: str = "destroy") -> None:
    """Mark disks for destruction, now or at the next start."""
    for vdi in vdis:
        if vdi not in ("", NULL_REF) and db.find("VDI", vdi) is not None:
            tx.add_to_map("VDI", vdi, "other_config", PENDING, reason)


def keep(tx: Transaction, vdis: Iterable[Ref]) -> None:
    """Take the mark away: the disks have become part of something."""
    for vdi in vdis:
        tx.remove_from_map("VDI", vdi, "other_config", PENDING)


async def destroy_condemned(call: Call, vdis: Iterable[str]) -> None:
    """Destroy disks; what cannot be destroyed now stays marked for the next start."""
    for vdi in vdis:
        if call.db.find("VDI", vdi) is None:
            continue
        try:
            await _vdi(call, "VDI.destroy", vdi)
        except ApiError as problem:
            log.warning("%s stays until the next start: %s", vdi, problem.description)


async def make(call: Call, undo: Undo, name: str, *arguments: object) -> Ref:
    """Make a disk by a VDI message; it is pending, and destroyed when ``undo`` runs."""
    vdi = Ref(str(await _vdi(call, name, *arguments)))
    # Same turn as the record's own transaction: both become durable together.
    with call.db.transaction() as tx:
        condemn(call.db, tx, [vdi], call.method)
    undo.push("destroy disk", lambda: destroy_condemned(call, [vdi]))
    return vdi


async def create(call: Call, undo: Undo, record: dict[str, object]) -> Ref:
    """Make a new disk with the fields of ``record``; pending as by ``make``."""
    full: dict[str, object] = {
        "name_label": "",
        "name_description": "",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        "xenstore_data": {},
        "sm_config": {},
        "tags": (),
        **record,
    }
    return await make(call, undo, "VDI.create", full)
