"""The built-in plugin ``storage``: what the interface has no message for.

``host.call_plugin(host, "storage", FUNCTION, args)`` answers JSON:
``vdi-holders`` {vdi: uuid or ref}: who uses a disk, and why;
``garbage-report`` {sr}: what garbage collection does and did last, and why disks were skipped;
``collect-garbage`` {sr}: collect now.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from xapi_py.api.call import Call
from xapi_py.api.storage_calls import host_of, on_sr, read_on_host
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row

NAME: Final = "storage"
Function = Callable[[Call, dict[str, str]], Awaitable[str]]


def _named(call: Call, cls: str, args: dict[str, str]) -> Row:
    text = args.get(cls.lower(), "")
    row = call.db.find(cls, text)
    return row if row is not None else call.db.row(cls, call.db.by_uuid(cls, text))


async def vdi_holders(call: Call, args: dict[str, str]) -> str:
    """Say who uses a disk: VMs, operations, data paths, readers, other hosts.

    Errors: UUID_INVALID, SR_HAS_NO_PBDS, the daemon's.
    """
    vdi = _named(call, "VDI", args)
    sr = call.db.row("SR", vdi.SR)
    host = host_of(call, sr)
    keys: dict[str, object] = {"sr": sr.uuid, "vdi": vdi.uuid}
    found: list[dict[str, str]] = []
    for ref in vdi.VBDs:
        vbd = call.db.row("VBD", ref)
        vm = call.db.find("VM", vbd.VM)
        if vbd.currently_attached and vm is not None:
            why = f"attached as {vbd.device or vbd.userdevice}, {vbd.mode}"
            found.append({"kind": "VM", "who": vm.uuid, "name": vm.name_label, "why": why})
    for task, operation in vdi.current_operations.items():
        row = call.db.find("task", task)
        name = "" if row is None else row.name_label
        found.append({"kind": "operation", "who": task, "name": name, "why": operation})
    paths = await read_on_host(call, host, "DP.stat_vdi", keys, sr=Ref(sr.ref))
    for name, path in paths["dps"].items():
        mode = "reading and writing" if path["read_write"] else "reading"
        why = f"{path['state'].lower()} for {mode}"
        found.append({"kind": "data path", "who": name, "name": path["vm"], "why": why})
    inside = await read_on_host(call, host, "VDI.holders", keys, sr=Ref(sr.ref))
    found += [{"name": "", **entry} for entry in inside]
    return json.dumps(found)


async def garbage_report(call: Call, args: dict[str, str]) -> str:
    """Give what garbage collection does, and did last.  Errors: as ``vdi_holders``."""
    sr = _named(call, "SR", args)
    keys: dict[str, object] = {"sr": sr.uuid}
    found: Any = await read_on_host(call, host_of(call, sr), "SR.garbage_report", keys)
    return json.dumps(found)


async def collect_garbage(call: Call, args: dict[str, str]) -> str:
    """Collect, and give the report of it.  Errors: as ``vdi_holders``."""
    await on_sr(call, _named(call, "SR", args), "SR.collect_garbage")
    return await garbage_report(call, args)


FUNCTIONS: Final[dict[str, Function]] = {
    "vdi-holders": vdi_holders,
    "garbage-report": garbage_report,
    "collect-garbage": collect_garbage,
}


async def run(call: Call, function: str, args: dict[str, str]) -> str:
    """Call a function.  Errors: XENAPI_MISSING_PLUGIN for an unknown one, its own."""
    found = FUNCTIONS.get(function)
    if found is None:
        raise err.XENAPI_MISSING_PLUGIN(f"{NAME}.{function}")
    return await found(call, args)
