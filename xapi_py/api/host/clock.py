"""What time it is on a host."""

import time
import zoneinfo
from datetime import datetime, timedelta

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("host.get_servertime")
def get_servertime(call: Call, host: Ref) -> int:
    """Give the host's time."""
    reached(call, host)
    return call.now()


@message("host.get_server_localtime")
def get_server_localtime(call: Call, host: Ref) -> int:
    """Give the host's time with its offset from UTC added."""
    row = reached(call, host)
    return call.now() + _offset_s(row.timezone, call.now())


def _offset_s(name: str, moment: int) -> int:
    if name in zoneinfo.available_timezones():
        local = datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(name))
        return int((local.utcoffset() or timedelta()).total_seconds())
    return time.localtime(moment).tm_gmtoff


@message("host.list_timezones")
def list_timezones(call: Call, self: Ref) -> tuple[str, ...]:
    """List the names ``host.set_timezone`` takes, sorted."""
    reached(call, self)
    return tuple(sorted(zoneinfo.available_timezones()))


@message("host.get_ntp_servers_status")
def get_ntp_servers_status(call: Call, self: Ref) -> dict[str, str]:
    """Map the host's time servers to how they answer: simulated ones always do."""
    row = reached(call, self)
    return {server: "OK" for server in row.ntp_custom_servers}


@message("host.get_ntp_synchronized")
def get_ntp_synchronized(call: Call, self: Ref) -> bool:
    """Tell whether the host's clock follows a time server."""
    return str(reached(call, self).ntp_mode) != "Disabled"


@message("host.set_servertime")
def set_servertime(call: Call, self: Ref, value: int) -> None:
    """Set the clock by hand.

    Errors: NOT_ALLOWED_WHEN_NTP_IS_ENABLED; OPERATION_NOT_ALLOWED on a machine
    whose clock is not the toolstack's to set.
    """
    if str(reached(call, self).ntp_mode) != "Disabled":
        raise err.NOT_ALLOWED_WHEN_NTP_IS_ENABLED(self)
    raise err.OPERATION_NOT_ALLOWED("The clock of this machine is not the toolstack's to set")
