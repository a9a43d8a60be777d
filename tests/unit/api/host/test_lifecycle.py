from pathlib import Path

import pytest

from tests.unit.api.server import Server
from xapi_py.api import derived
from xapi_py.api.host import power

NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    server = Server(tmp_path)
    derived.declare(server.db, server.toolstack.model)
    server.put("host", server.this_host, enabled=True)
    return server


@pytest.fixture
def session(server: Server) -> str:
    return server.login()


def make_guest(server: Server) -> str:
    return server.make("VM", name_label="g", power_state="Running", resident_on=server.this_host)


@pytest.mark.parametrize("message", ["host.shutdown", "host.reboot"])
def test_enabled_host_may_not_leave(server: Server, session: str, message: str) -> None:
    assert server.refusal(message, session, server.this_host) == ["HOST_NOT_DISABLED"]


@pytest.mark.parametrize("message", ["host.shutdown", "host.reboot"])
def test_host_with_a_guest_may_not_leave(server: Server, session: str, message: str) -> None:
    guest = make_guest(server)
    server.call("host.disable", session, server.this_host)
    answer = server.refusal(message, session, server.this_host)
    assert answer == ["HOST_IN_USE", server.this_host, "vm", guest]


@pytest.mark.parametrize("message", ["host.shutdown", "host.reboot", "host.disable"])
def test_unknown_host_is_named(server: Server, session: str, message: str) -> None:
    assert server.refusal(message, session, NOBODY) == ["HANDLE_INVALID", "host", NOBODY]


def test_rebooted_host_is_away_and_comes_back_enabled(server: Server, session: str) -> None:
    host = server.this_host
    server.call("host.disable", session, host)
    server.call("host.reboot", session, host)
    assert server.refusal("host.enable", session, host) == ["HOST_DISABLED_UNTIL_REBOOT", host]
    assert server.refusal("host.get_servertime", session, host) == ["HOST_OFFLINE", host]
    server.clock.advance(power.BOOT_S)
    row = server.db.row("host", host)
    assert row.enabled
    assert row.current_operations == {}
    assert row.other_config["boot_time"] == f"{int(server.clock.seconds())}."


def test_host_disabled_for_good_stays_so_over_a_reboot(server: Server, session: str) -> None:
    server.call("host.disable", session, server.this_host, False)
    server.call("host.reboot", session, server.this_host)
    server.clock.advance(power.BOOT_S)
    assert not server.db.row("host", server.this_host).enabled


def test_host_that_is_off_is_started_by_its_mode(server: Server, session: str) -> None:
    host = server.this_host
    assert server.refusal("host.power_on", session, host) == ["HOST_IS_LIVE", host]
    server.call("host.disable", session, host)
    server.call("host.shutdown", session, host)
    assert server.refusal("host.power_on", session, host) == ["HOST_POWER_ON_MODE_DISABLED"]
    server.call("host.set_power_on_mode", session, host, "wake-on-lan", {})
    server.call("host.power_on", session, host)
    assert server.db.row("host", host).enabled


def test_offers_follow_what_the_host_does(server: Server, session: str) -> None:
    host = server.this_host
    server.put("host", host, current_operations={"OpaqueRef:t": "evacuate"})
    offered = server.call("host.get_allowed_operations", session, host)
    assert "vm_migrate" not in offered


def test_restart_ends_the_server_after_the_answer(server: Server, session: str) -> None:
    ended: list[bool] = []
    server.toolstack.restart = lambda: ended.append(True)
    server.call("host.restart_agent", session, server.this_host)
    assert not ended
    server.clock.advance(1)
    assert ended


def test_guest_with_nowhere_to_go_prevents_evacuation(server: Server, session: str) -> None:
    guest = make_guest(server)
    found = server.call("host.get_vms_which_prevent_evacuation", session, server.this_host)
    assert found == {guest: ["NO_HOSTS_AVAILABLE", guest]}
    refused = server.refusal("host.assert_can_evacuate", session, server.this_host)
    assert refused[0] == "CANNOT_EVACUATE_HOST"
    assert server.refusal("host.evacuate", session, server.this_host)[0] == "NO_HOSTS_AVAILABLE"


def test_empty_host_can_be_evacuated(server: Server, session: str) -> None:
    server.call("host.evacuate", session, server.this_host)
    assert server.call("host.get_vms_which_prevent_evacuation", session, server.this_host) == {}


def test_live_host_is_not_destroyed(server: Server, session: str) -> None:
    host = server.this_host
    assert server.refusal("host.destroy", session, host) == ["HOST_IS_LIVE", host]
    assert server.refusal("host.declare_dead", session, host) == ["HOST_IS_LIVE", host]


def test_dead_host_goes_with_what_belongs_to_it(server: Server, session: str) -> None:
    metrics = server.make("host_metrics", live=False)
    host = server.make("host", name_label="gone", metrics=metrics)
    cpu = server.make("host_cpu", host=host, number=0)
    server.call("host.destroy", session, host)
    assert [server.db.find(c, r) for c, r in (("host", host), ("host_cpu", cpu))] == [None, None]
    assert server.refusal("host.get_servertime", session, host) == ["HOST_OFFLINE", host]


def test_dead_host_with_guests_is_kept_until_declared_dead(server: Server, session: str) -> None:
    host = server.make("host", metrics=server.make("host_metrics", live=False))
    guest = server.make("VM", power_state="Running", resident_on=host)
    assert server.refusal("host.destroy", session, host) == ["HOST_HAS_RESIDENT_VMS", host]
    server.call("host.declare_dead", session, host)
    assert server.db.row("VM", guest).power_state == "Halted"
    server.call("host.destroy", session, host)
