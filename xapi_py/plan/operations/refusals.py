"""Refusals several classes share, in the exact form clients see them."""

from collections.abc import Iterable, Mapping

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err

Names = Mapping[str, str]

HOST_OPERATION_TEXT: Names = {
    "vm_start": "VM.start",
    "vm_resume": "VM.resume",
    "vm_migrate": "VM.migrate",
}

SR_DOTTED = ("vdi_", "pbd_")


def sr_operation_text(op: str) -> str:
    """Spell a storage operation the way error parameters do: ``VDI.create``."""
    if op.startswith(SR_DOTTED):
        cls, _, rest = op.partition("_")
        return f"{cls.upper()}.{rest}"
    return op


def in_progress(
    cls: str, ref: str, current: Mapping[str, str], text: Mapping[str, str] | None = None
) -> ApiError:
    """Refuse because of the operations in ``current`` (task ref to operation).

    One operation is named plainly; several are written as ``{a,b}`` with the
    task references in the same order.
    """
    spell = text or {}
    names = [spell.get(op, op) for op in current.values()]
    tasks = list(current)
    if len(names) == 1:
        return err.OTHER_OPERATION_IN_PROGRESS(cls, ref, names[0], tasks[0])
    joined = ",".join(names)
    return err.OTHER_OPERATION_IN_PROGRESS(
        cls, ref, "{" + joined + "}", "{" + ",".join(tasks) + "}"
    )


def bad_power_state(vm: str, expected: Iterable[str], actual: str) -> ApiError:
    """Build ``VM_BAD_POWER_STATE``: expected states joined ``", "``, all lower case."""
    return err.VM_BAD_POWER_STATE(vm, ", ".join(s.lower() for s in expected), actual.lower())


def others(current: Mapping[str, str], task: str | None) -> Mapping[str, str]:
    """Give the current operations less the one of ``task`` itself."""
    if task is None or task not in current:
        return current
    return {ref: op for ref, op in current.items() if ref != task}
