"""What counts as left behind by a guest."""

from tests.system.lab import find_leftovers

CLEAN = """\
Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0  1536     1     r-----      47.9
== xenstore
/tool = ""
/local/domain/0 = ""
/local/domain/0/backend/vbd = ""
/local/domain/0/device-model/0/state = "running"
/vm/00000000-0000-0000-0000-000000000000 = ""
/libxl/0 = ""
== links
/sys/class/net/eth0 /sys/class/net/lo /sys/class/net/xenbr0
== loops
== processes
1 init
248 python3
"""
DIRTY = """\
Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0  1536     1     r-----      47.9
(null)                                       7   128     1     --ps-d       0.1
== xenstore
/local/domain/7/name = "x"
/local/domain/7/memory = ""
/local/domain/0/backend/vif/7/0/state = "4"
/vm/7d1f0b5e-0000-4000-8000-000000000000/name = "x"
== links
/sys/class/net/eth0 /sys/class/net/vif7.0 /sys/class/net/tap7.0
== loops
/run/disk.img
== processes
300 qemu-system-i38
"""


def test_a_clean_host_has_none():
    assert find_leftovers(CLEAN) == []


def test_everything_of_a_guest_is_named_once():
    assert find_leftovers(DIRTY) == [
        "domain: (null)",
        "xenstore: /local/domain/7",
        "xenstore: /local/domain/0/backend/vif/7",
        "xenstore: /vm/7d1f0b5e-0000-4000-8000-000000000000",
        "network device: vif7.0",
        "network device: tap7.0",
        "loop device on /run/disk.img",
        "process: 300 qemu-system-i38",
    ]
