"""What needs the kernel's own bonds and VLANs: the network suites on Debian's kernel in the lab.

The tests are the same as elsewhere, where they skip for want of the modules bonding and
8021q.  The daemon is in the tests' own process: the emulated machine is slow.
"""

import xml.etree.ElementTree as ElementTree

import pytest

from tests.xenlab.lab import Host

pytestmark = pytest.mark.system

TIMEOUT_S = 900
ENVIRONMENT = "XAPI_PY_DAEMON_INSIDE=1 XAPI_PY_DATAPATH=system"
SUITES = {
    "contract": "tests/contract/backends/test_network_backend.py -k 'bridge and not simulator'",
    "vlan": "tests/system/test_networks.py -k 'bridge and (tagged or vlan)'",
    "cables": "tests/system/test_networks.py -k 'pulled and bridge'",
    "lacp": "tests/system/test_networks.py -k 'kernel_of_its_peer'",
    "locking": "tests/system/test_networks.py -k 'locked and bridge'",
    "cut off": "tests/system/test_network_replay.py -k 'bridge and bond'",
    "size": "tests/bench/bench_networkd.py -k 'bridge'",
}


@pytest.mark.parametrize("selection", SUITES.values(), ids=SUITES.keys())
def test_network_suite_passes_on_a_kernel_with_bonds_and_vlans(
    plain_lab: Host, selection: str
) -> None:
    plain_lab.output("modprobe -a bonding 8021q openvswitch")
    words = f"python3 -m pytest -q -s -rs -p no:cacheprovider --junitxml=/tmp/found {selection}"
    done = plain_lab.run(f"cd /opt/xapi-py && {ENVIRONMENT} {words}", timeout=TIMEOUT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
    suite = ElementTree.fromstring(plain_lab.get("/tmp/found")).find("testsuite")
    assert suite is not None
    assert (int(suite.attrib["tests"]) > 0, suite.attrib["skipped"]) == (True, "0")
