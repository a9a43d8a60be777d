"""What holds disks open on a host, and making it let go."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import on_host, read_on_host
from xapi_py.base.names import Ref


@message("host.get_sm_diagnostics")
async def get_sm_diagnostics(call: Call, host: Ref) -> str:
    """List the SRs a host has attached and the datapaths that hold their disks."""
    reached(call, host)
    pbds = (call.db.row("PBD", ref) for ref in call.db.row("host", host).PBDs)
    srs = [call.db.row("SR", pbd.SR).uuid for pbd in pbds if pbd.currently_attached]
    paths: Any = await read_on_host(call, host, "DP.list", {})
    lines = ["The following SRs are attached:"]
    for sr in srs:
        lines.append(f"    SR {sr}")
        lines += [f"        {_described(path)}" for path in paths if path["sr"] == sr]
    return "\n".join(lines) + "\n"


def _described(path: dict[str, Any]) -> str:
    mode = "read/write" if path["read_write"] else "read only"
    return f"VDI {path['vdi']} {path['state']} by {path['dp']}, {mode}"


@message("host.sm_dp_destroy")
async def sm_dp_destroy(call: Call, host: Ref, dp: str, allow_leak: bool) -> None:
    """Take a datapath down on every disk it holds.

    With ``allow_leak`` one that cannot be taken down is forgotten.
    """
    reached(call, host)
    await on_host(call, host, "DP.destroy", {"dp": dp, "allow_leak": allow_leak})
