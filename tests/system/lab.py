"""Labs for tests: Xen, or plain Debian, restored in seconds for each module that asks.

``xen_lab`` is a host with Xen, ``plain_lab`` the same Debian without, ``xen_pair`` two hosts on a
network.  All have the project in /opt/xapi-py and are as just booted when a module begins; after
each test of a Xen lab nothing may be left of its guests.  Tests of one module that change more
take ``lab.snapshot(name)`` and ``lab.restore(name)``.  Where no lab can be had, the tests skip
with the reason.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.xenlab import lab as labs
from tests.xenlab import qemu
from tests.xenlab.errors import LabUnavailable
from tests.xenlab.lab import Host, Lab

LIFETIME_S = 2400.0
GUESTS = "/lab/extra/guest"

LEFTOVERS = r"""
xl list 2>/dev/null | tail -n +2 | grep -v '^Domain-0 ' | sed 's/^/domain: /'
xenstore-list /local/domain 2>/dev/null | grep -vx 0 | sed 's,^,xenstore: /local/domain/,'
for key in /vm /libxl /local/domain/0/backend /local/domain/0/device-model; do
    for below in $(xenstore-list $key 2>/dev/null); do
        case $key/$below in
        /vm/00000000-0000-0000-0000-000000000000 | /libxl/0) ;;
        /local/domain/0/backend/* | /local/domain/0/device-model/*)
            [ -z "$(xenstore-list $key/$below)" ] ||
                echo "xenstore: $key/$below/$(xenstore-list $key/$below | tr '\n' ' ')" ;;
        *) echo "xenstore: $key/$below" ;;
        esac
    done
done
pgrep -a qemu | grep -v -- '-xen-domid 0 ' | sed 's/^/process: /'
losetup -nO NAME,BACK-FILE | sed 's/^/loop device: /'
for nic in /sys/class/net/vif* /sys/class/net/tap*; do
    [ ! -e $nic ] || echo "network device: ${nic##*/}"
done
true
"""


def leftovers(host: Host) -> list[str]:
    """Say what guests and their devices left behind on a host with Xen."""
    return host.output(LEFTOVERS, timeout=60).splitlines()


def flavours(*, xen: bool = True, hosts: int = 1, **options: int) -> list[qemu.Flavour]:
    """Give the machines of a lab; ``options`` are those of ``Flavour``."""
    fast = qemu.available() and qemu.accelerator() == "kvm"
    memory = {"memory": 4096 if xen else 2048, **options}
    return [
        qemu.Flavour(
            xen=xen,
            number=number,
            accelerator="kvm" if fast else "tcg",
            cpu=qemu.KVM_CPU if fast else qemu.TCG_CPU,
            **memory,
        )
        for number in range(1, hosts + 1)
    ]


def started(request: pytest.FixtureRequest, wanted: Sequence[qemu.Flavour]) -> Iterator[Lab]:
    """Run a lab for a fixture; its logs are kept in ``XENLAB_LOGS`` when a test of it failed."""
    name = f"t{os.getpid()}-{request.node.name.replace('.py', '').replace('_', '-')[-14:]}"
    failed_before = request.session.testsfailed
    try:
        lab = labs.up(name.strip("-").lower(), wanted, lifetime=LIFETIME_S)
    except LabUnavailable as error:
        pytest.skip(f"no lab: {str(error)[:300]}")
    try:
        for host in lab.hosts:
            host.put_project()
        yield lab
        if request.session.testsfailed > failed_before and (logs := os.environ.get("XENLAB_LOGS")):
            lab.collect_logs(Path(logs) / name)
    finally:
        lab.down()


@pytest.fixture(scope="module")
def _xen_lab(request: pytest.FixtureRequest) -> Iterator[Host]:
    for lab in started(request, flavours()):
        yield lab.host


@pytest.fixture
def xen_lab(_xen_lab: Host) -> Iterator[Host]:
    """A host with Xen; what a test leaves behind fails it."""
    yield _xen_lab
    assert leftovers(_xen_lab) == []


@pytest.fixture(scope="module")
def _plain_lab(request: pytest.FixtureRequest) -> Iterator[Host]:
    for lab in started(request, flavours(xen=False)):
        yield lab.host


@pytest.fixture
def plain_lab(_plain_lab: Host) -> Host:
    """A machine with Debian's own kernel and no Xen: eth1 and eth2 are the ends of a cable."""
    return _plain_lab


@pytest.fixture(scope="module")
def _xen_pair(request: pytest.FixtureRequest) -> Iterator[list[Host]]:
    for lab in started(request, flavours(hosts=2)):
        yield lab.hosts


@pytest.fixture
def xen_pair(_xen_pair: list[Host]) -> Iterator[list[Host]]:
    """Two hosts with Xen, 10.9.0.1 and 10.9.0.2 on eth1; what a test leaves behind fails it."""
    yield _xen_pair
    assert {host.name: leftovers(host) for host in _xen_pair} == {
        host.name: [] for host in _xen_pair
    }
