"""Messages of class Diagnostics: how the server itself is doing."""

import gc
from collections.abc import Mapping

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref


@message("Diagnostics.gc_compact")
def gc_compact(call: Call, host: Ref) -> None:
    """Collect garbage of a host's server now.  Errors: HOST_OFFLINE."""
    reached(call, host)
    gc.collect()


@message("Diagnostics.gc_stats")
def gc_stats(call: Call, host: Ref) -> Mapping[str, str]:
    """Give figures of the garbage collector.  Errors: HOST_OFFLINE."""
    reached(call, host)
    figures: dict[str, str] = {"frozen_objects": str(gc.get_freeze_count())}
    for number, generation in enumerate(gc.get_stats()):
        for name, value in generation.items():
            figures[f"generation_{number}_{name}"] = str(value)
    return figures


@message("Diagnostics.db_stats")
def db_stats(call: Call) -> Mapping[str, str]:
    """Give the number of rows of each class and the database's generation."""
    rows = {f"rows_{name}": str(call.db.count(name)) for name in call.db.tables}
    return {"generation": str(call.db.generation), **rows}


@message("Diagnostics.network_stats")
def network_stats(call: Call, host: Ref, params: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Give figures of the HTTP paths: none are counted."""
    reached(call, host)
    return ()
