"""Metrics by name for the messages of VMs, hosts and SRs.

Source: brief POOL 14.5; facts/classes, data_source.
"""

from xapi_py.api.call import Call
from xapi_py.datamodel import errors as err
from xapi_py.metrics.store import OwnerKind

Record = dict[str, object]


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
        for source in call.toolstack.metrics.sources(kind, uuid)
    )


def value(call: Call, kind: OwnerKind, uuid: str, name: str) -> float:
    """Give the last value.  Errors: INVALID_VALUE for an unknown name."""
    for source in call.toolstack.metrics.sources(kind, uuid):
        if source.reading.name == name:
            return source.value
    raise err.INVALID_VALUE("data_source", name)


def keep(call: Call, kind: OwnerKind, uuid: str, name: str) -> None:
    """Begin to keep a quantity.  Errors: INVALID_VALUE for an unknown name."""
    if not call.toolstack.metrics.keep(kind, uuid, name):
        raise err.INVALID_VALUE("data_source", name)


def forget(call: Call, kind: OwnerKind, uuid: str, name: str) -> None:
    """Drop what was kept.  Errors: INVALID_VALUE for an unknown name."""
    if not call.toolstack.metrics.forget(kind, uuid, name):
        raise err.INVALID_VALUE("data_source", name)
