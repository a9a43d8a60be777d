"""Metrics of a VM by name.  Source: facts/traces, group lifecycle."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


def _check_live(call: Call, vm: Ref) -> None:
    row = call.db.row("VM", vm)
    if row.power_state not in ("Running", "Paused"):
        raise err.VM_BAD_POWER_STATE(vm, "running;paused", row.power_state.lower())


@message("VM.get_data_sources")
def get_data_sources(call: Call, self: Ref) -> tuple[dict[str, object], ...]:
    """List the metrics of a VM: none while nothing collects them."""
    call.db.row("VM", self)
    return ()


@message("VM.query_data_source")
def query_data_source(call: Call, self: Ref, data_source: str) -> float:
    """Give the present value of a metric.

    Errors: VM_BAD_POWER_STATE, INVALID_VALUE for an unknown name.
    """
    _check_live(call, self)
    raise err.INVALID_VALUE("data_source", data_source)


@message("VM.record_data_source")
def record_data_source(call: Call, self: Ref, data_source: str) -> None:
    """Have a metric kept.  Errors: INVALID_VALUE for an unknown name."""
    call.db.row("VM", self)
    raise err.INVALID_VALUE("data_source", data_source)


@message("VM.forget_data_source_archives")
def forget_data_source_archives(call: Call, self: Ref, data_source: str) -> None:
    """Drop what was kept of a metric.  Errors: INVALID_VALUE for an unknown name."""
    call.db.row("VM", self)
    raise err.INVALID_VALUE("data_source", data_source)
