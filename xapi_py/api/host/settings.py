"""Fields of a host with messages of their own that only check and write."""

import re
import zoneinfo

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.settings import Setting, at_least, refused_with, register, within
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

SSH_TIMEOUT_MAX_S = 2 * 24 * 3600
_CSTATE = re.compile(r"\d+(,\d+)?|")
_HOSTNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9-]*)*")
HOSTNAME_MAX = 64


def _max_cstate(call: Call, host: Ref, value: str) -> None:
    if not _CSTATE.fullmatch(value):
        raise err.INVALID_VALUE("max_cstate", value)


def _timezone(call: Call, host: Ref, value: str) -> None:
    if value not in zoneinfo.available_timezones():
        raise err.INVALID_VALUE("timezone", value)


def _ntp_mode(call: Call, host: Ref, value: str) -> None:
    if value == "Custom" and not call.db.row("host", host).ntp_custom_servers:
        raise err.INVALID_NTP_CONFIG(
            "Can't set ntp_mode to Custom when ntp_custom_servers is empty"
        )


def _ntp_servers(call: Call, host: Ref, value: tuple[str, ...]) -> None:
    if not value and call.db.row("host", host).ntp_mode == "Custom":
        raise err.INVALID_NTP_CONFIG(
            "Can't set ntp_custom_servers to empty when ntp_mode is Custom"
        )


def _fixed_scheduling() -> Exception:
    return err.OPERATION_NOT_ALLOWED("Disabled by xapi.conf")


def _certificates_of_pool() -> Exception:
    return err.OPERATION_NOT_ALLOWED(
        "To set UEFI certificates use: `Pool.set_custom_uefi_certificates`"
    )


CONSOLE_TIMEOUT = Setting(
    "host.set_console_idle_timeout", ("console_idle_timeout",), at_least("console_timeout", 0)
)
SSH_TIMEOUT = Setting(
    "host.set_ssh_enabled_timeout",
    ("ssh_enabled_timeout",),
    within("ssh_enabled_timeout", 0, SSH_TIMEOUT_MAX_S),
)
SSH_AUTO = Setting("host.set_ssh_auto_mode", ("ssh_auto_mode",))
SSH_OFF = Setting("host.disable_ssh", constants={"ssh_enabled": False, "ssh_expiry": 0})
HTTPS_ONLY = Setting("host.set_https_only", ("https_only",))
SSL_LEGACY = Setting("host.set_ssl_legacy", ("ssl_legacy",))

register(
    (
        CONSOLE_TIMEOUT,
        SSH_TIMEOUT,
        SSH_AUTO,
        SSH_OFF,
        HTTPS_ONLY,
        SSL_LEGACY,
        # These two take any reference, as the recorded server does (setters-160).
        Setting("host.set_suspend_image_sr", ("suspend_image_sr",)),
        Setting("host.set_crash_dump_sr", ("crash_dump_sr",)),
        Setting("host.set_power_on_mode", ("power_on_mode", "power_on_config")),
        Setting("host.set_license_params", ("license_params",)),
        Setting("host.set_max_cstate", ("max_cstate",), _max_cstate),
        Setting("host.set_timezone", ("timezone",), _timezone),
        Setting("host.set_ntp_mode", ("ntp_mode",), _ntp_mode),
        Setting("host.set_ntp_custom_servers", ("ntp_custom_servers",), _ntp_servers),
        Setting("host.set_numa_affinity_policy", ("numa_affinity_policy",)),
        Setting("host.set_sched_gran", check=refused_with(_fixed_scheduling)),
        Setting("host.set_uefi_certificates", check=refused_with(_certificates_of_pool)),
    )
)


@message("host.enable_ssh")
def enable_ssh(call: Call, self: Ref) -> None:
    """Let users in by SSH, for the set number of seconds or for ever."""
    seconds = call.db.row("host", self).ssh_enabled_timeout
    expiry = call.now() + seconds if seconds else 0
    with call.db.transaction() as tx:
        tx.update("host", self, ssh_enabled=True, ssh_expiry=expiry)


@message("host.get_sched_gran")
def get_sched_gran(call: Call, self: Ref) -> str:
    """Tell what the scheduler moves as one: always single CPUs here."""
    call.db.row("host", self)
    return "cpu"


@message("host.set_iscsi_iqn")
def set_iscsi_iqn(call: Call, host: Ref, value: str) -> None:
    """Set the initiator's name, in the field and where older clients look.

    Errors: INVALID_VALUE for the empty name.
    """
    row = call.db.row("host", host)
    if not value:
        raise err.INVALID_VALUE("value", value)
    with call.db.transaction() as tx:
        other_config = {**row.other_config, "iscsi_iqn": value}
        tx.update("host", host, iscsi_iqn=value, other_config=other_config)


@message("host.set_multipathing")
def set_multipathing(call: Call, host: Ref, value: bool) -> None:
    """Use all paths to storage, or one; older clients see it in other_config."""
    row = call.db.row("host", host)
    other_config = {**row.other_config, "multipathing": "true" if value else "false"}
    if value:
        other_config["multipathhandle"] = "dmp"
    with call.db.transaction() as tx:
        tx.update("host", host, multipathing=value, other_config=other_config)


@message("host.set_hostname_live")
def set_hostname_live(call: Call, host: Ref, hostname: str) -> None:
    """Rename the host.  Errors: HOST_NAME_INVALID with the reason."""
    row = call.db.row("host", host)
    if not hostname:
        raise err.HOST_NAME_INVALID("hostname empty")
    if len(hostname) > HOSTNAME_MAX:
        raise err.HOST_NAME_INVALID("hostname is too long")
    if not _HOSTNAME.fullmatch(hostname):
        raise err.HOST_NAME_INVALID("hostname contains invalid characters")
    versions = {**row.software_version, "hostname": hostname}
    with call.db.transaction() as tx:
        tx.update("host", host, hostname=hostname, software_version=versions)
        if call.db.find("VM", row.control_domain) is not None:
            label = f"Control domain on host: {hostname}"
            tx.update("VM", row.control_domain, name_label=label)


@message("host.enable_display")
def enable_display(call: Call, host: Ref) -> str:
    """Let the host use its display, from the next boot if it was taken away."""
    return _display(call, host, {"disable_on_reboot": "enabled", "disabled": "enable_on_reboot"})


@message("host.disable_display")
def disable_display(call: Call, host: Ref) -> str:
    """Take the display from the host at its next boot, for guests to use."""
    call.db.row("host", host)
    return _display(call, host, {"enable_on_reboot": "disabled", "enabled": "disable_on_reboot"})


def _display(call: Call, host: Ref, moves: dict[str, str]) -> str:
    now = str(call.db.row("host", host).display)
    after = moves.get(now, now)
    with call.db.transaction() as tx:
        tx.set("host", host, "display", after)
    return after
