"""scripts/install on a control domain of real Xen: the toolstack runs, tells facts, goes again."""

import pytest

from tests.xenlab.lab import PROJECT, Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

INSTALL = f"{PROJECT}/scripts/install"
PYTHON = "/usr/local/lib/xapi-py/venv/bin/python"
UNIT = "/etc/systemd/system/xapi-py.service"


def files(host: Host) -> set[str]:
    """List all files in the folders that belong to the administrator and to installed programs."""
    return set(host.output("find /etc /usr/local /var/lib/xapi-py -xdev 2>/dev/null; true").split())


@pytest.fixture
def installed(xen_lab: Host):
    before = files(xen_lab)
    xen_lab.output([INSTALL, "--no-packages", "--offline", "--address", "10.0.2.15"], timeout=400)
    yield xen_lab
    xen_lab.output([INSTALL, "--remove", "--purge"], timeout=60)
    changed = {name for name in files(xen_lab) - before if "/systemd/system" not in name}
    assert not changed


def test_the_installed_toolstack_runs_and_tells_what_the_host_is(installed: Host) -> None:
    host = installed
    assert host.run(["systemctl", "is-enabled", "xapi-py.service"]).stdout == "enabled\n"
    host.output(["systemd-analyze", "verify", UNIT], timeout=120)
    host.output("echo root:secret | chpasswd")
    started = host.output(f"sed -n 's/^ExecStart=//p' {UNIT}").strip()
    host.output(
        "set -a; . /etc/default/xapi-py; XAPI_START_S=300; "
        f"{started.replace('$XAPI_OPTIONS', '$XAPI_OPTIONS --detach')}",
        timeout=400,
    )
    try:
        check_facts(host)
        check_passwords(host)
    finally:
        host.run(f"{PYTHON} -P -m xapi_py.supervisor --state /var/lib/xapi-py --stop", timeout=120)


def check_facts(host: Host) -> None:
    facts = host.output("xe host-list params=all", timeout=120)
    for words in ("xen: 4.17", "linux: 6.1.", "vendor: AuthenticAMD", "hvm-3.0-x86_64"):
        assert words in facts
    assert host.output("cat /proc/stat | sed -n 's/btime /boot_time: /p'").strip() in facts
    assert "Virtio network device" in host.output("xe pci-list params=all", timeout=120)
    assert "eth0" in host.output("xe pif-list", timeout=120)


def check_passwords(host: Host) -> None:
    login = (
        "import XenAPI; s = XenAPI.Session('http://10.0.2.15'); "
        "s.xenapi.login_with_password('root', '{}'); print(len(s.xenapi.host.get_all()))"
    )
    right = ["python3", "-c", login.format("secret")]
    assert host.output(right, timeout=120) == "1\n"
    wrong = host.run(["python3", "-c", login.format("wrong")], timeout=120)
    assert "SESSION_AUTHENTICATION_FAILED" in wrong.stderr


def test_a_machine_that_is_no_control_domain_is_refused(plain_lab: Host) -> None:
    done = plain_lab.run([INSTALL, "--no-packages"])
    assert done.returncode == 1
    assert "this is no control domain of Xen" in done.stderr
    assert plain_lab.run(f"test -e {UNIT}").returncode == 1
