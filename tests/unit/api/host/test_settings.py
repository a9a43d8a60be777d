from pathlib import Path

import pytest

from tests.unit.api.server import Server

NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def session(server: Server) -> str:
    return server.login()


@pytest.mark.parametrize(
    ("message", "arguments", "field", "stored"),
    [
        ("set_console_idle_timeout", (600,), "console_idle_timeout", 600),
        ("set_ssh_enabled_timeout", (3600,), "ssh_enabled_timeout", 3600),
        ("set_ssh_auto_mode", (False,), "ssh_auto_mode", False),
        ("set_https_only", (True,), "https_only", True),
        ("set_ssl_legacy", (False,), "ssl_legacy", False),
        ("set_power_on_mode", ("wake-on-lan", {}), "power_on_mode", "wake-on-lan"),
        ("set_power_on_mode", ("x", {"a": "b"}), "power_on_config", {"a": "b"}),
        ("set_max_cstate", ("0,1",), "max_cstate", "0,1"),
        ("set_timezone", ("Europe/Berlin",), "timezone", "Europe/Berlin"),
        ("set_ntp_custom_servers", (["10.0.0.1"],), "ntp_custom_servers", ("10.0.0.1",)),
        ("set_numa_affinity_policy", ("best_effort",), "numa_affinity_policy", "best_effort"),
        ("set_iscsi_iqn", ("iqn.2020-01.a:b",), "iscsi_iqn", "iqn.2020-01.a:b"),
        ("set_multipathing", (True,), "multipathing", True),
        ("set_hostname_live", ("host-9",), "hostname", "host-9"),
    ],
)
def test_setting_is_written(
    server: Server, session: str, message: str, arguments: tuple, field: str, stored: object
) -> None:
    server.call(f"host.{message}", session, server.this_host, *arguments)
    assert getattr(server.db.row("host", server.this_host), field) == stored


@pytest.mark.parametrize(
    ("message", "value", "error"),
    [
        ("set_console_idle_timeout", -5, ["INVALID_VALUE", "console_timeout", "-5"]),
        ("set_ssh_enabled_timeout", -1, ["INVALID_VALUE", "ssh_enabled_timeout", "-1"]),
        ("set_max_cstate", "deep", ["INVALID_VALUE", "max_cstate", "deep"]),
        ("set_timezone", "Mars/Olympus", ["INVALID_VALUE", "timezone", "Mars/Olympus"]),
        ("set_iscsi_iqn", "", ["INVALID_VALUE", "value", ""]),
        ("set_sched_gran", "core", ["OPERATION_NOT_ALLOWED", "Disabled by xapi.conf"]),
        ("set_hostname_live", "", ["HOST_NAME_INVALID", "hostname empty"]),
        ("set_hostname_live", "x" * 65, ["HOST_NAME_INVALID", "hostname is too long"]),
        (
            "set_hostname_live",
            "bad host",
            ["HOST_NAME_INVALID", "hostname contains invalid characters"],
        ),
    ],
)
def test_setting_is_refused(
    server: Server, session: str, message: str, value: object, error: list[str]
) -> None:
    before = server.db.generation
    assert server.refusal(f"host.{message}", session, server.this_host, value) == error
    assert server.db.generation == before


def test_setting_of_an_unknown_host_is_refused(server: Server, session: str) -> None:
    answer = server.refusal("host.set_https_only", session, NOBODY, True)
    assert answer == ["HANDLE_INVALID", "host", NOBODY]


def test_custom_time_servers_are_needed_for_the_custom_mode(tmp_path: Path) -> None:
    server = Server(tmp_path)
    session, host = server.login(), server.this_host
    assert server.refusal("host.set_ntp_mode", session, host, "Custom")[0] == "INVALID_NTP_CONFIG"
    server.call("host.set_ntp_custom_servers", session, host, ["10.0.0.1"])
    server.call("host.set_ntp_mode", session, host, "Custom")
    answer = server.refusal("host.set_ntp_custom_servers", session, host, [])
    assert answer[0] == "INVALID_NTP_CONFIG"


def test_initiator_name_is_where_older_clients_look(server: Server, session: str) -> None:
    server.call("host.set_iscsi_iqn", session, server.this_host, "iqn.2020-01.a:c")
    other_config = server.call("host.get_other_config", session, server.this_host)
    assert other_config["iscsi_iqn"] == "iqn.2020-01.a:c"


def test_ssh_ends_after_its_timeout(server: Server, session: str) -> None:
    server.call("host.set_ssh_enabled_timeout", session, server.this_host, 60)
    server.call("host.enable_ssh", session, server.this_host)
    row = server.db.row("host", server.this_host)
    assert (row.ssh_enabled, row.ssh_expiry) == (True, int(server.clock.seconds()) + 60)


def test_display_moves_at_the_next_boot(server: Server, session: str) -> None:
    host = server.this_host
    assert server.call("host.disable_display", session, host) == "disable_on_reboot"
    assert server.call("host.disable_display", session, host) == "disable_on_reboot"
    assert server.call("host.enable_display", session, host) == "enabled"
