"""Metrics of a host by name."""

from xapi_py.api import data_sources
from xapi_py.api.call import Call
from xapi_py.api.data_sources import Record
from xapi_py.api.registry import message
from xapi_py.base.names import Ref


@message("host.get_data_sources")
def get_data_sources(call: Call, host: Ref) -> tuple[Record, ...]:
    """List the metrics; none before the first sample."""
    return data_sources.listed(call, "host", call.db.row("host", host).uuid)


@message("host.query_data_source")
def query_data_source(call: Call, host: Ref, data_source: str) -> float:
    """Give the present value of a metric.  Errors: INVALID_VALUE for an unknown name."""
    return data_sources.value(call, "host", call.db.row("host", host).uuid, data_source)


@message("host.record_data_source")
def record_data_source(call: Call, host: Ref, data_source: str) -> None:
    """Have a metric kept.  Errors: INVALID_VALUE for an unknown name."""
    data_sources.keep(call, "host", call.db.row("host", host).uuid, data_source)


@message("host.forget_data_source_archives")
def forget_data_source_archives(call: Call, host: Ref, data_source: str) -> None:
    """Drop what was kept of a metric.  Errors: INVALID_VALUE for an unknown name."""
    data_sources.forget(call, "host", call.db.row("host", host).uuid, data_source)
