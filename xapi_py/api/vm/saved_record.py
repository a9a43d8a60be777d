"""The VM record that a snapshot keeps as text, to go back to.

The text is pairs of a database name and the field's stored text, in the form
real servers write it.
"""

from xapi_py.api.call import Call
from xapi_py.datamodel.value_types import DateTime
from xapi_py.db.row import RefSet, Row
from xapi_py.plan import query, snapshot
from xapi_py.wire.scalars import format_date


def saved_text(call: Call, vm: Row) -> str:
    """Write all stored fields of a VM."""
    pairs = [("_ref", str(vm.ref))]
    for field in call.model.classes["VM"].fields.values():
        value = getattr(vm, field.name)
        if isinstance(field.type, DateTime):
            text = format_date(value)
        else:
            text = query.stored_text(tuple(value) if isinstance(value, RefSet) else value)
        pairs.append((field.db_name, text))
    return snapshot.metadata_text(pairs)


def restored_fields(row: Row) -> dict[str, object]:
    """Give the fields a revert to the snapshot ``row`` writes.

    They are the snapshot's own, which are those of the VM at the time; only
    the name comes from the text, because the snapshot has one of its own.
    """
    fields = snapshot.revert_fields({name: getattr(row, name) for name in snapshot.COPIED})
    try:
        saved = snapshot.read_metadata(row.snapshot_metadata)
    except ValueError:
        return fields
    if "name__label" in saved:
        fields["name_label"] = saved["name__label"]
    return fields
