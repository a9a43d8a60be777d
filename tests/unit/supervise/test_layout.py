import pytest

from xapi_py.supervise import layout
from xapi_py.supervise.options import UsageError, parse


def commands(*argv: str) -> dict[str, list[str]]:
    options = parse(["--state", "/s", "--backend", "simulator", *argv])
    return {spec.label: list(spec.command({}))[3:] for spec in layout.pool(options)}


def test_a_daemon_has_its_socket_folder_and_number():
    assert commands()["host-1/smd"] == [
        *("sm", "--socket", "/s/host-1/run/smd.sock", "--state", "/s/host-1/smd"),
        *("--backend", "simulator", "--host", "1", "--config", "/s/simulator.yaml"),
    ]


def test_xapi_is_told_all_it_needs():
    line = commands("--http", "81", "--https", "82", "--bare", "--profile", "newest")
    assert line["host-1/xapi"] == [
        *("xapi_py.main", "--state", "/s/host-1", "--http", "81", "--https", "82"),
        *("--address", "127.0.0.1", "--password-file", "/s/password", "--profile", "newest"),
        *("--backend", "simulator", "--host", "1", "--config", "/s/simulator.yaml", "--bare"),
    ]


def test_a_restarted_xapi_gets_the_ports_it_announced():
    options = parse(["--http", "0", "--https", "0"])
    (xapi,) = (spec for spec in layout.pool(options) if spec.name == "xapi")
    again = xapi.command({"http": 4001, "https": 4002})
    assert again[again.index("--http") : again.index("--address")] == (
        *("--http", "4001", "--https", "4002"),
    )


def test_on_xen_no_simulator_file_is_passed():
    options = parse(["--backend", "xen"])
    assert all("--config" not in spec.command({}) for spec in layout.pool(options))


def test_each_host_has_four_processes_in_two_stages():
    found = layout.pool(parse(["--hosts", "2", "--standalone"]))
    assert [(s.host, s.stage) for s in found] == [
        *((1, 0), (1, 0), (1, 0), (1, 1), (2, 0), (2, 0), (2, 0), (2, 1)),
    ]


def test_a_state_folder_too_deep_for_a_socket_is_refused():
    with pytest.raises(UsageError, match="too long for unix sockets"):
        layout.pool(parse(["--state", "/" + "x" * 90]))
