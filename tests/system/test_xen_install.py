"""scripts/install on a control domain of real Xen: what it places works, and goes again."""

import pytest

from tests.xenlab.lab import PROJECT, Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

INSTALL = f"{PROJECT}/scripts/install"
PYTHON = "/usr/local/lib/xapi-py/venv/bin/python"
UNIT = "/etc/systemd/system/xapi-py.service"


def files(host: Host) -> set[str]:
    """List all files in the folders that belong to the administrator and to installed programs."""
    return set(
        host.output(
            "find /etc /usr/local /var/lib/xapi-py -xdev ! -type d 2>/dev/null; true"
        ).split()
    )


@pytest.fixture
def installed(xen_lab: Host):
    before = files(xen_lab)
    xen_lab.output([INSTALL, "--no-packages", "--offline", "--address", "10.0.2.15"], timeout=400)
    yield xen_lab
    xen_lab.output([INSTALL, "--remove", "--purge"], timeout=60)
    changed = {name for name in files(xen_lab) - before if "/systemd/system" not in name}
    assert not changed


def test_it_installs_on_a_control_domain_and_goes_again(installed: Host) -> None:
    host = installed
    assert host.run(["systemctl", "is-enabled", "xapi-py.service"]).stdout == "enabled\n"
    host.output(["systemd-analyze", "verify", UNIT], timeout=240)
    assert "xen-4.17-" in host.output("ls /var/lib/xapi-py/bindings")
    host.output([PYTHON, "-P", "-c", "import pam, twisted, xapi_py.base, xenops"], timeout=240)


def test_a_machine_that_is_no_control_domain_is_refused(plain_lab: Host) -> None:
    done = plain_lab.run([INSTALL, "--no-packages"])
    assert done.returncode == 1
    assert "this is no control domain of Xen" in done.stderr
    assert plain_lab.run(f"test -e {UNIT}").returncode == 1
