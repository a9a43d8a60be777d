"""Metrics of a VM by name.  Source: facts/traces, group lifecycle."""

from xapi_py.api import data_sources
from xapi_py.api.call import Call
from xapi_py.api.data_sources import Record
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("VM.get_data_sources")
def get_data_sources(call: Call, self: Ref) -> tuple[Record, ...]:
    """List the metrics of a VM; one that never ran has none."""
    return data_sources.listed(call, "vm", call.db.row("VM", self).uuid)


@message("VM.query_data_source")
def query_data_source(call: Call, self: Ref, data_source: str) -> float:
    """Give the present value of a metric.

    Errors: VM_BAD_POWER_STATE, INVALID_VALUE for an unknown name.
    """
    row = call.db.row("VM", self)
    if row.power_state not in ("Running", "Paused"):
        raise err.VM_BAD_POWER_STATE(self, "running;paused", row.power_state.lower())
    return data_sources.value(call, "vm", row.uuid, data_source)


@message("VM.record_data_source")
def record_data_source(call: Call, self: Ref, data_source: str) -> None:
    """Have a metric kept.  Errors: INVALID_VALUE for an unknown name."""
    data_sources.keep(call, "vm", call.db.row("VM", self).uuid, data_source)


@message("VM.forget_data_source_archives")
def forget_data_source_archives(call: Call, self: Ref, data_source: str) -> None:
    """Drop what was kept of a metric.  Errors: INVALID_VALUE for an unknown name."""
    data_sources.forget(call, "vm", call.db.row("VM", self).uuid, data_source)
