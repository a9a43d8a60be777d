"""What a host tells about itself to those who look for a fault."""

import sys
import threading
import traceback

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

CAPABILITIES = (
    ("xenserver-config", "text/plain", 1 << 10, 64 << 10, "maybe"),
    ("xenserver-databases", "text/plain", 1 << 10, 32 << 20, "yes"),
    ("xenserver-logs", "text/plain", 1 << 10, 64 << 20, "maybe"),
    ("host-crashdump-logs", "text/plain", 0, 16 << 20, "maybe"),
    ("network-status", "text/plain", 1 << 10, 128 << 10, "yes"),
)
"""Parts of a status report: key, content type, smallest and largest size, personal data."""


@message("host.dmesg")
async def dmesg(call: Call, host: Ref) -> str:
    """Give the hypervisor's log."""
    reached(call, host)
    return str(await call.host(host).xenops.read("HOST.get_console_data", {}, dbg=call.dbg))


@message("host.dmesg_clear")
def dmesg_clear(call: Call, host: Ref) -> str:
    """Clear the hypervisor's log: no release does.  Errors: NOT_IMPLEMENTED."""
    reached(call, host)
    raise err.NOT_IMPLEMENTED("dmesg_clear")


@message("host.get_log")
def get_log(call: Call, host: Ref) -> str:
    """Give the server's log: no release does.  Errors: NOT_IMPLEMENTED."""
    reached(call, host)
    raise err.NOT_IMPLEMENTED("get_log")


@message("host.list_methods")
def list_methods(call: Call) -> tuple[str, ...]:
    """List messages: ``system.listMethods`` does.  Errors: NOT_IMPLEMENTED."""
    raise err.NOT_IMPLEMENTED("list_method")


@message("host.send_debug_keys")
async def send_debug_keys(call: Call, host: Ref, keys: str) -> None:
    """Press keys on the hypervisor's console."""
    reached(call, host)
    await call.host(host).xenops.call("HOST.send_debug_keys", {"keys": keys}, dbg=call.dbg)


@message("host.bugreport_upload")
def bugreport_upload(call: Call, host: Ref, url: str, options: dict[str, str]) -> None:
    """Send a status report to the maker of the product, who takes none from us.

    Errors: INVALID_VALUE for the empty address, OPERATION_NOT_ALLOWED.
    """
    reached(call, host)
    if not url:
        raise err.INVALID_VALUE("url", "")
    raise err.OPERATION_NOT_ALLOWED("Status reports are downloaded, not sent")


@message("host.get_system_status_capabilities")
def get_system_status_capabilities(call: Call, host: Ref) -> str:
    """Describe the parts of a status report as XML.

    XenCenter wants whole numbers in every size and time.  Source: XENCENTER 9.7.
    """
    reached(call, host)
    parts = "".join(
        f'<capability content-type="{kind}" default-checked="yes" key="{key}" '
        f'max-size="{largest}" min-size="{smallest}" max-time="10" min-time="1" pii="{pii}"/>'
        for key, kind, smallest, largest, pii in CAPABILITIES
    )
    return f'<?xml version="1.0"?><system-status-capabilities>{parts}</system-status-capabilities>'


@message("host.get_diagnostic_timing_stats")
def get_diagnostic_timing_stats(call: Call, host: Ref, counts: bool = False) -> dict[str, str]:
    """Map parts of the server to the time they took: none is measured so."""
    reached(call, host)
    return {}


@message("host.get_thread_diagnostics")
def get_thread_diagnostics(call: Call, host: Ref) -> str:
    """Give the stacks of the server's threads."""
    reached(call, host)
    frames = sys._current_frames()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(number, '?')}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in frames.items()
    )


@message("host.syslog_reconfigure")
def syslog_reconfigure(call: Call, host: Ref) -> None:
    """Follow ``logging["syslog_destination"]``: the service manager of the host does."""
    reached(call, host)


@message("host.get_tracked_user_agents")
def get_tracked_user_agents(call: Call, self: Ref) -> dict[str, str]:
    """Map client programs that called to versions: they are not recorded."""
    reached(call, self)
    return {}


@message("host.sync_data")
def sync_data(call: Call, host: Ref) -> None:
    """Copy blobs and alerts to a host: a lone host has them."""
    reached(call, host)


@message("host.backup_rrds")
def backup_rrds(call: Call, host: Ref, delay: float) -> None:
    """Copy metrics of the host's guests to the master: a lone host has them."""
    reached(call, host)
