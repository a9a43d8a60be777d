"""current_operations as locks: one operation at a time on an object, or a clear refusal.

All objects of an operation are checked and marked together, in a fixed order
of classes, within one turn of the reactor: nobody waits for a lock, so there
is nothing to dead-lock.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from xapi_py.api.call import Call
from xapi_py.base.names import Ref
from xapi_py.plan.operations.table import OPERATIONS

Claim = tuple[str, Ref, str]
"""Class, reference and operation: ``("VM", vm, "start")``."""

CLASS_ORDER = ("pool", "host", "VM_appliance", "VM", "SR", "VDI", "VBD", "VIF", "network")


def check(call: Call, *claims: Claim) -> None:
    """Refuse an operation its object does not allow now; changes nothing.

    Errors: those of ``xapi_py.plan.operations`` for the first claim that
    fails, HANDLE_INVALID for an object that does not exist.
    """
    for cls, ref, operation in _in_order(claims):
        row = call.db.row(cls, ref)
        problem = OPERATIONS[cls].error_for(call.db, row, operation)
        if problem is not None:
            raise problem


@asynccontextmanager
async def operation(call: Call, *claims: Claim) -> AsyncIterator[None]:
    """Hold operations on objects for the length of a block.

    Every claim is checked first; then all are marked in ``current_operations``
    under the task of the call, and cleared when the block ends however it
    ends.  An object destroyed meanwhile is no error.  Errors: as ``check``.
    """
    check(call, *claims)
    task = call.task
    with call.db.transaction() as tx:
        for cls, ref, name in claims:
            tx.add_to_map(cls, ref, "current_operations", task, name)
    try:
        yield
    finally:
        with call.db.transaction() as tx:
            for cls, ref, _ in claims:
                if call.db.find(cls, ref) is not None:
                    tx.remove_from_map(cls, ref, "current_operations", task)


def _in_order(claims: tuple[Claim, ...]) -> list[Claim]:
    rank = {name: i for i, name in enumerate(CLASS_ORDER)}
    return sorted(claims, key=lambda claim: rank.get(claim[0], len(rank)))
