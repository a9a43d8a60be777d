"""Messages of class VTPM.  What a vTPM remembers is kept as a secret."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.operations import check
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err

MOST_PER_VM = 1


@message("VTPM.create")
def create(call: Call, vM: Ref | dict[str, Any], is_unique: bool = False) -> Ref:  # noqa: N803
    """Give a halted VM a vTPM.  Errors: VTPM_MAX_AMOUNT_REACHED.

    In 7.1 the only parameter is a record that names the VM.
    """
    if isinstance(vM, dict):
        vM = Ref(vM.get("VM", NULL_REF))  # noqa: N806
    row = call.db.row("VM", vM)
    check(call, ("VM", vM, "create_vtpm"))
    if len(row.VTPMs) >= MOST_PER_VM:
        raise err.VTPM_MAX_AMOUNT_REACHED(str(MOST_PER_VM))
    with call.db.transaction() as tx:
        contents = tx.create("secret", {"value": ""})
        fields = {"VM": vM, "is_unique": is_unique, "contents": contents}
        return tx.create("VTPM", {k: v for k, v in fields.items() if k in _columns(call)})


def _columns(call: Call) -> set[str]:
    return set(call.db.tables["VTPM"].columns)


@message("VTPM.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Take the vTPM from a halted VM; what it remembers is lost."""
    row = call.db.row("VTPM", self)
    check(call, ("VTPM", self, "destroy"))
    with call.db.transaction() as tx:
        if call.db.find("secret", row.contents) is not None:
            tx.delete("secret", row.contents)
        tx.delete("VTPM", self)


@message("VTPM.get_contents")
def get_contents(call: Call, self: Ref) -> str:
    """Give what the vTPM remembers."""
    secret = call.db.find("secret", call.db.row("VTPM", self).contents)
    return str(secret.value) if secret is not None else ""


@message("VTPM.set_contents")
def set_contents(call: Call, self: Ref, contents: str) -> None:
    """Store what the vTPM remembers."""
    row = call.db.row("VTPM", self)
    with call.db.transaction() as tx:
        if call.db.find("secret", row.contents) is not None:
            tx.set("secret", row.contents, "value", contents)
        else:
            tx.set("VTPM", self, "contents", tx.create("secret", {"value": contents}))
