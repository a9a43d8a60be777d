"""Metrics of an SR by name."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("SR.get_data_sources")
def get_data_sources(call: Call, sr: Ref) -> tuple[dict[str, object], ...]:
    """List the metrics of an SR: none while nothing collects them."""
    call.db.row("SR", sr)
    return ()


@message("SR.query_data_source")
def query_data_source(call: Call, sr: Ref, data_source: str) -> float:
    """Give the present value of a metric.  Errors: INVALID_VALUE for an unknown name."""
    call.db.row("SR", sr)
    raise err.INVALID_VALUE("data_source", data_source)


@message("SR.record_data_source")
def record_data_source(call: Call, sr: Ref, data_source: str) -> None:
    """Have a metric kept.  Errors: INVALID_VALUE for an unknown name."""
    call.db.row("SR", sr)
    raise err.INVALID_VALUE("data_source", data_source)


@message("SR.forget_data_source_archives")
def forget_data_source_archives(call: Call, sr: Ref, data_source: str) -> None:
    """Drop what was kept of a metric.  Errors: INVALID_VALUE for an unknown name."""
    call.db.row("SR", sr)
    raise err.INVALID_VALUE("data_source", data_source)
