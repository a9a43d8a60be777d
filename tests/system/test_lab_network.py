"""What needs the kernel's own bonds and VLANs: the network suites on Debian's kernel in the lab.

The tests are the same as elsewhere, where they skip for want of the modules bonding and
8021q.  All of them run in one process, the daemon in it: the emulated machine is slow.
"""

import xml.etree.ElementTree as ElementTree

import pytest

from tests.xenlab.lab import Host

pytestmark = pytest.mark.system

TIMEOUT_S = 900
ENVIRONMENT = "XAPI_PY_DAEMON_INSIDE=1 XAPI_PY_DATAPATH=system XAPI_PY_LONGEST_GAP_S=2"
ENVIRONMENT += " XAPI_PY_TOLD_WITHIN_S=6"
FILES = (
    "tests/contract/backends/test_network_backend.py",
    "tests/system/test_networks.py",
    "tests/system/test_network_alerts.py",
    "tests/system/test_network_replay.py",
)
CHOSEN = (
    "test_network_backend and bridge and not simulator and not openvswitch",
    "kernel_of_its_peer and (bridge or tcpudp_ports)",
    "test_networks and bridge and not openvswitch and (tagged or vlan or pulled or sends_only)",
    "test_networks and openvswitch and (vlan_on_a_bond or sends_only)",
    "limited",
    "loses_its_links and bridge",
    "test_network_replay and bridge and bond",
)


def test_networks_work_with_the_kernels_own_bonds_and_vlans(plain_lab: Host) -> None:
    plain_lab.output("modprobe -a bonding 8021q openvswitch")
    chosen = " or ".join(f"({part})" for part in CHOSEN)
    options = "-v -s -rs --tb=short --durations=12 --junitxml=/tmp/found"
    words = f"python3 -m pytest {options} {' '.join(FILES)} -k '{chosen}'"
    done = plain_lab.run(f"cd /opt/xapi-py && {ENVIRONMENT} {words}", timeout=TIMEOUT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
    suite = ElementTree.fromstring(plain_lab.get("/tmp/found")).find("testsuite")
    assert suite is not None
    assert (int(suite.attrib["tests"]) >= 30, suite.attrib["skipped"]) == (True, "0")
