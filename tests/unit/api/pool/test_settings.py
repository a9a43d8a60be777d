import xmlrpc.client
from datetime import UTC, datetime

import pytest

from tests.unit.api.server import Server

NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"
DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def session(server: Server) -> str:
    return server.login()


@pytest.mark.parametrize(
    ("message", "value", "error"),
    [
        ("set_igmp_snooping_enabled", True, ["OPENVSWITCH_NOT_ACTIVE"]),
        ("set_update_sync_enabled", True, ["NO_REPOSITORIES_CONFIGURED"]),
        ("set_ext_auth_cache_size", -1, ["INVALID_VALUE", "size", "-1"]),
        ("set_ext_auth_cache_expiry", 0, ["INVALID_VALUE", "expiry", "0"]),
        ("set_console_idle_timeout", -1, ["INVALID_VALUE", "console_timeout", "-1"]),
        ("set_repositories", [NOBODY], ["HANDLE_INVALID", "Repository", NOBODY]),
        (
            "set_custom_uefi_certificates",
            "x",
            [
                "OPERATION_NOT_ALLOWED",
                "Setting UEFI certificates is not possible when allow_custom_uefi_certs is false",
            ],
        ),
        (
            "set_ha_host_failures_to_tolerate",
            -1,
            ["INVALID_VALUE", "ha_host_failures_to_tolerate", "-1"],
        ),
    ],
)
def test_setting_is_refused(
    server: Server, session: str, message: str, value: object, error: list[str]
) -> None:
    assert server.refusal(f"pool.{message}", session, server.this_pool, value) == error


@pytest.mark.parametrize("threads", [0, -1])
def test_logins_need_a_thread(server: Server, session: str, threads: int) -> None:
    for message in ("pool.set_local_auth_max_threads", "pool.set_ext_auth_max_threads"):
        assert server.refusal(message, session, server.this_pool, threads)[0] == "INTERNAL_ERROR"


def test_setting_of_all_hosts_reaches_each(server: Server, session: str) -> None:
    other = server.make("host", name_label="other")
    server.call("pool.set_console_idle_timeout", session, server.this_pool, 60)
    server.call("pool.enable_ssh", session, server.this_pool)
    server.call("pool.disable_ssl_legacy", session, server.this_pool)
    for host in (server.this_host, other):
        row = server.db.row("host", host)
        assert (row.console_idle_timeout, row.ssh_enabled, row.ssl_legacy) == (60, True, False)


@pytest.mark.parametrize(
    ("key", "value"), [("auto_update_enabled", "x"), ("bogus", "x"), ("auto_update_url", "ftp://")]
)
def test_guest_agents_know_few_keys(server: Server, session: str, key: str, value: str) -> None:
    answer = server.refusal("pool.add_to_guest_agent_config", session, server.this_pool, key, value)
    assert answer == ["INVALID_VALUE", "guest_agent_config", f"{key} = {value}"]


def test_guest_agent_key_is_kept_and_dropped(server: Server, session: str) -> None:
    pool = server.this_pool
    server.call("pool.add_to_guest_agent_config", session, pool, "auto_update_enabled", "true")
    assert server.call("pool.get_guest_agent_config", session, pool) == {
        "auto_update_enabled": "true"
    }
    again = server.refusal(
        "pool.add_to_guest_agent_config", session, pool, "auto_update_enabled", "true"
    )
    assert again[0] == "MAP_DUPLICATE_KEY"
    server.call("pool.remove_from_guest_agent_config", session, pool, "auto_update_enabled")
    assert server.call("pool.get_guest_agent_config", session, pool) == {}


def test_telemetry_may_not_wait_too_long(server: Server, session: str) -> None:
    late = datetime.fromtimestamp(server.clock.seconds() + 15 * DAY_S, UTC)
    text = late.strftime("%Y%m%dT%H:%M:%SZ")
    answer = server.refusal(
        "pool.set_telemetry_next_collection",
        session,
        server.this_pool,
        xmlrpc.client.DateTime(text),
    )
    assert answer == ["TELEMETRY_NEXT_COLLECTION_TOO_LATE", text]


def test_daily_look_for_updates_has_no_day(server: Server, session: str) -> None:
    server.call("pool.configure_update_sync", session, server.this_pool, "daily", 99)
    assert server.db.row("pool", server.this_pool).update_sync_day == 0
    answer = server.refusal("pool.configure_update_sync", session, server.this_pool, "weekly", 7)
    assert answer == ["INVALID_UPDATE_SYNC_DAY", "7"]


def test_proxy_keeps_its_password_as_a_secret(server: Server, session: str) -> None:
    pool = server.this_pool
    answer = server.refusal("pool.configure_repository_proxy", session, pool, "proxy:80", "u", "p")
    assert answer == ["INVALID_REPOSITORY_PROXY_URL", "proxy:80"]
    server.call("pool.configure_repository_proxy", session, pool, "http://proxy:80", "u", "p")
    secret = server.db.row("pool", pool).repository_proxy_password
    assert server.db.row("secret", secret).value == "p"
    server.call("pool.disable_repository_proxy", session, pool)
    assert server.db.find("secret", secret) is None


def test_default_storage_takes_any_reference(server: Server, session: str) -> None:
    server.call("pool.set_suspend_image_SR", session, server.this_pool, NOBODY)
    assert server.call("pool.get_suspend_image_SR", session, server.this_pool) == NOBODY
