"""Fields of the pool with messages of their own that only check and write."""

from collections.abc import Callable, Mapping

from xapi_py.api.call import Call
from xapi_py.api.host import settings as on_host
from xapi_py.api.host.reach import reached
from xapi_py.api.moments import iso_date
from xapi_py.api.registry import message
from xapi_py.api.settings import PoolSetting, Setting, at_least, existing, refused_with, register
from xapi_py.base.names import NULL_REF, Ref, new_uuid
from xapi_py.datamodel import errors as err

DAY_S = 24 * 3600
TELEMETRY_LATEST_S = {"daily": 2 * DAY_S, "weekly": 14 * DAY_S, "monthly": 62 * DAY_S}
"""How far ahead the next collection of telemetry may be, by its frequency."""


def _openvswitch(call: Call, pool: Ref, value: object) -> None:
    for host in call.db.rows("host"):
        if host.software_version.get("network_backend") != "openvswitch":
            raise err.OPENVSWITCH_NOT_ACTIVE()


def _telemetry(call: Call, pool: Ref, value: int) -> None:
    frequency = str(call.db.row("pool", pool).telemetry_frequency)
    if value > call.now() + TELEMETRY_LATEST_S[frequency]:
        raise err.TELEMETRY_NEXT_COLLECTION_TOO_LATE(iso_date(value))


def _synchronisable(call: Call, pool: Ref, value: bool) -> None:
    if value and not call.db.row("pool", pool).repositories:
        raise err.NO_REPOSITORIES_CONFIGURED()


def _threads(call: Call, pool: Ref, value: int) -> None:
    if value < 1:
        raise err.INTERNAL_ERROR(f"at least one thread is needed, not {value}")


def _fixed_certificates() -> Exception:
    return err.OPERATION_NOT_ALLOWED(
        "Setting UEFI certificates is not possible when allow_custom_uefi_certs is false"
    )


register(
    (
        PoolSetting("pool.set_console_idle_timeout", on_host.CONSOLE_TIMEOUT),
        PoolSetting("pool.set_ssh_enabled_timeout", on_host.SSH_TIMEOUT),
        PoolSetting("pool.set_ssh_auto_mode", on_host.SSH_AUTO),
        PoolSetting("pool.disable_ssh", on_host.SSH_OFF),
        PoolSetting("pool.set_https_only", on_host.HTTPS_ONLY),
        PoolSetting(
            "pool.enable_ssl_legacy", Setting("host.ssl_legacy", constants={"ssl_legacy": True})
        ),
        PoolSetting(
            "pool.disable_ssl_legacy", Setting("host.ssl_legacy", constants={"ssl_legacy": False})
        ),
        # These three take any reference, as the recorded server does (poolhost-213 to -217).
        Setting("pool.set_default_SR", ("default_SR",)),
        Setting("pool.set_suspend_image_SR", ("suspend_image_SR",)),
        Setting("pool.set_crash_dump_SR", ("crash_dump_SR",)),
        Setting("pool.set_igmp_snooping_enabled", ("igmp_snooping_enabled",), _openvswitch),
        Setting("pool.set_telemetry_next_collection", ("telemetry_next_collection",), _telemetry),
        Setting("pool.set_update_sync_enabled", ("update_sync_enabled",), _synchronisable),
        Setting("pool.set_local_auth_max_threads", ("local_auth_max_threads",), _threads),
        Setting("pool.set_ext_auth_max_threads", ("ext_auth_max_threads",), _threads),
        Setting("pool.set_ext_auth_cache_enabled", ("ext_auth_cache_enabled",)),
        Setting("pool.set_ext_auth_cache_size", ("ext_auth_cache_size",), at_least("size", 0)),
        Setting(
            "pool.set_ext_auth_cache_expiry", ("ext_auth_cache_expiry",), at_least("expiry", 1)
        ),
        Setting("pool.set_uefi_certificates", check=refused_with(_fixed_certificates)),
        Setting("pool.set_custom_uefi_certificates", check=refused_with(_fixed_certificates)),
        Setting("pool.set_repositories", ("repositories",), existing("Repository")),
        Setting(
            "pool.disable_client_certificate_auth",
            constants={
                "client_certificate_auth_enabled": False,
                "client_certificate_auth_name": "",
            },
        ),
        Setting(
            "pool.enable_client_certificate_auth",
            ("client_certificate_auth_name",),
            constants={"client_certificate_auth_enabled": True},
        ),
    )
)


@message("pool.enable_ssh")
def enable_ssh(call: Call, self: Ref) -> None:
    """Let users in by SSH on every host."""
    call.db.row("pool", self)
    with call.db.transaction():
        for host in tuple(call.db.refs("host")):
            on_host.enable_ssh(call, host)


@message("pool.reset_telemetry_uuid")
def reset_telemetry_uuid(call: Call, self: Ref) -> None:
    """Be a stranger to the collector of telemetry from now on."""
    old = call.db.row("pool", self).telemetry_uuid
    with call.db.transaction() as tx:
        tx.set("pool", self, "telemetry_uuid", tx.create("secret", {"value": new_uuid()}))
        if call.db.find("secret", old) is not None:
            tx.delete("secret", old)


GUEST_AGENT_KEYS: Mapping[str, Callable[[str], bool]] = {
    "auto_update_enabled": lambda value: value in ("true", "false"),
    "auto_update_url": lambda value: value == "" or value.startswith(("http://", "https://")),
}
"""Keys of ``pool.guest_agent_config`` and what their values may be."""


@message("pool.add_to_guest_agent_config")
async def add_to_guest_agent_config(call: Call, self: Ref, key: str, value: str) -> None:
    """Set a key for guest agents; running guests see it.

    Errors: INVALID_VALUE for keys and values agents do not know.
    """
    row = call.db.row("pool", self)
    if key not in GUEST_AGENT_KEYS or not GUEST_AGENT_KEYS[key](value):
        raise err.INVALID_VALUE("guest_agent_config", f"{key} = {value}")
    if key in row.guest_agent_config:
        raise err.MAP_DUPLICATE_KEY("pool", "guest_agent_config", self, key)
    with call.db.transaction() as tx:
        tx.add_to_map("pool", self, "guest_agent_config", key, value)
    await apply_guest_agent_config(call)


@message("pool.remove_from_guest_agent_config")
async def remove_from_guest_agent_config(call: Call, self: Ref, key: str) -> None:
    """Drop a key; one that is not there is no error."""
    call.db.row("pool", self)
    with call.db.transaction() as tx:
        tx.remove_from_map("pool", self, "guest_agent_config", key)
    await apply_guest_agent_config(call)


@message("host.apply_guest_agent_config")
async def apply_guest_agent_config_on(call: Call, host: Ref) -> None:
    """Tell the guests of a host what the pool's guest agents shall do."""
    reached(call, host)
    await apply_guest_agent_config(call)


async def apply_guest_agent_config(call: Call) -> None:
    """Tell the domain daemons of all hosts."""
    config = call.db.row("pool", call.toolstack.pool).guest_agent_config
    parameters = {}
    if "auto_update_enabled" in config:
        parameters["enabled"] = "1" if config["auto_update_enabled"] == "true" else "0"
    if "auto_update_url" in config:
        parameters["update_url"] = config["auto_update_url"]
    features = {"Guest_agent_auto_update": {"licensed": "1", "parameters": parameters}}
    for gateway in call.toolstack.hosts.live():
        method = "HOST.update_guest_agent_features"
        await gateway.xenops.call(method, {"features": features}, dbg=call.dbg)


@message("pool.configure_update_sync")
def configure_update_sync(
    call: Call, self: Ref, update_sync_frequency: str, update_sync_day: int
) -> None:
    """Say when updates are looked for; a daily look has no day.

    Errors: INVALID_UPDATE_SYNC_DAY for a weekly look.
    """
    call.db.row("pool", self)
    weekly = update_sync_frequency == "weekly"
    if weekly and not 0 <= update_sync_day <= 6:
        raise err.INVALID_UPDATE_SYNC_DAY(str(update_sync_day))
    day = update_sync_day if weekly else 0
    with call.db.transaction() as tx:
        tx.update("pool", self, update_sync_frequency=update_sync_frequency, update_sync_day=day)


@message("pool.configure_repository_proxy")
def configure_repository_proxy(
    call: Call, self: Ref, url: str, username: str, password: str
) -> None:
    """Reach repositories through a proxy.

    Errors: INVALID_REPOSITORY_PROXY_URL; INVALID_REPOSITORY_PROXY_CREDENTIAL
    for a name without a password or the other way round.
    """
    call.db.row("pool", self)
    if not url.startswith(("http://", "https://")) or any(c.isspace() for c in url):
        raise err.INVALID_REPOSITORY_PROXY_URL(url)
    if bool(username) != bool(password) or "\n" in username + password:
        raise err.INVALID_REPOSITORY_PROXY_CREDENTIAL()
    _proxy(call, self, url, username, password)


@message("pool.disable_repository_proxy")
def disable_repository_proxy(call: Call, self: Ref) -> None:
    """Reach repositories directly."""
    call.db.row("pool", self)
    _proxy(call, self, "", "", "")


def _proxy(call: Call, pool: Ref, url: str, username: str, password: str) -> None:
    old = call.db.row("pool", pool).repository_proxy_password
    with call.db.transaction() as tx:
        secret = tx.create("secret", {"value": password}) if password else NULL_REF
        tx.update(
            "pool",
            pool,
            repository_proxy_url=url,
            repository_proxy_username=username,
            repository_proxy_password=secret,
        )
        if call.db.find("secret", old) is not None:
            tx.delete("secret", old)
