"""Metrics by name for the messages of VMs, hosts and SRs.

Source: brief POOL 14.5; facts/classes, data_source.
"""

from xapi_py.api.call import Call
from xapi_py.datamodel import errors as err
from xapi_py.metrics.store import Metrics, OwnerKind

Record = dict[str, object]


def _metrics(call: Call) -> Metrics:
    """Give what keeps the metrics.  Errors: INTERNAL_ERROR on a bare host, which has none."""
    if call.toolstack.settings.bare:
        raise err.INTERNAL_ERROR("nothing collects performance data on this host")
    return call.toolstack.metrics


def listed(call: Call, kind: OwnerKind, uuid: str) -> tuple[Record, ...]:
    """Give the records of all quantities of an owner."""
    return tuple(
        {
            "name_label": source.reading.name,
            "name_description": source.reading.about,
            "enabled": source.enabled,
            "standard": source.reading.standard,
            "units": source.reading.units,
            "min": source.reading.low,
            "max": source.reading.high,
            "value": source.value,
        }
        for source in _metrics(call).sources(kind, uuid)
    )


def value(call: Call, kind: OwnerKind, uuid: str, name: str) -> float:
    """Give the last value.  Errors: INVALID_VALUE for an unknown name."""
    for source in _metrics(call).sources(kind, uuid):
        if source.reading.name == name:
            return source.value
    raise err.INVALID_VALUE("data_source", name)


def keep(call: Call, kind: OwnerKind, uuid: str, name: str) -> None:
    """Begin to keep a quantity.  Errors: INVALID_VALUE for an unknown name."""
    if not _metrics(call).keep(kind, uuid, name):
        raise err.INVALID_VALUE("data_source", name)


def forget(call: Call, kind: OwnerKind, uuid: str, name: str) -> None:
    """Drop what was kept.  Errors: INVALID_VALUE for an unknown name."""
    if not _metrics(call).forget(kind, uuid, name):
        raise err.INVALID_VALUE("data_source", name)
