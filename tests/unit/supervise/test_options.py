from pathlib import Path

import pytest

from xapi_py.supervise.options import UsageError, parse


def test_the_state_folder_is_the_users_own_when_not_given():
    assert parse([], {}).state == Path.home() / ".local/state/xapi-py"
    assert parse([], {"XDG_STATE_HOME": "/var/s"}).state == Path("/var/s/xapi-py")


def test_paths_do_not_depend_on_the_current_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = parse(["--state", "s", "--ready-file", "r", "--simulator", "y"])
    found = (options.state, options.ready_file, options.simulator)
    assert found == (tmp_path / "s", tmp_path / "r", tmp_path / "y")


def test_ports_depend_on_who_starts(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert (parse([]).http, parse([]).https) == (80, 443)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert (parse([]).http, parse([]).https) == (8080, 8443)
    assert (parse(["--http", "0"]).http, parse(["--https", "1"]).https) == (0, 1)


def test_hosts_have_addresses_of_their_own():
    options = parse(["--hosts", "3", "--standalone"])
    assert [options.address_of(n) for n in (1, 2, 3)] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--hosts 2", "come later"),
        ("--hosts 0", "1 to 250"),
        ("--hosts 251 --standalone", "1 to 250"),
        ("--hosts x", "invalid int"),
        ("--http 70000", "70000 is not a port"),
        ("--http 90 --https 90", "ports of their own"),
        ("--backend kvm", "invalid choice"),
        ("--profile 8", "invalid choice"),
        ("--backend xen --bare", "simulated hosts"),
        ("--address 0.0.0.0 --hosts 2 --standalone", "for one host"),
        ("--password=", "printable"),
        ("--nonsense", "unrecognized"),
    ],
)
def test_bad_requests_are_named(line, named):
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert named in str(caught.value)


def test_stop_needs_no_other_option_to_fit():
    assert parse(["--stop", "--hosts", "7"]).stop
