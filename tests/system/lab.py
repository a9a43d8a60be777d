"""Labs for tests: Xen, or plain Debian, restored in seconds for each module that asks.

``xen_lab`` is a host with Xen, ``plain_lab`` the same Debian without, ``xen_pair`` two hosts on a
network.  All have the project in /opt/xapi-py and are as just booted when a module begins; after
each test of a Xen lab nothing may be left of its guests.  Tests of one module that change more
take ``lab.snapshot(name)`` and ``lab.restore(name)``.  Where no lab can be had, the tests skip
with the reason.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.xenlab import lab as labs
from tests.xenlab import qemu
from tests.xenlab.errors import LabUnavailable
from tests.xenlab.lab import Host, Lab

LIFETIME_S = 2400.0
GUESTS = "/lab/extra/guest"
UNPROVEN = pytest.mark.skipif(
    not os.environ.get("XENLAB_UNPROVEN"),
    reason="has not yet been seen to pass in a lab; XENLAB_UNPROVEN=1 runs it",
)

# Few processes: starting one takes long in the machine.
TRACES = """
xl list
echo "== xenstore"; xenstore-ls -f /
echo "== links"; echo /sys/class/net/*
echo "== loops"; cat /sys/block/loop*/loop/backing_file 2>/dev/null
echo "== processes"
for folder in /proc/[0-9]*; do
    read -r name <$folder/comm && echo "${folder#/proc/} $name"
done 2>/dev/null
true
"""
OF_GUESTS = re.compile(
    r"(/local/domain/[1-9]\d*|/vm/(?!0{8}-)[^/]+|/libxl/[1-9]\d*"
    r"|/local/domain/0/(?:backend/[^/]+|device-model)/[1-9]\d*)"
)


def leftovers(host: Host) -> list[str]:
    """Say what guests and their devices left behind on a host with Xen."""
    return find_leftovers(host.output(TRACES, timeout=60))


def find_leftovers(listing: str) -> list[str]:
    """Find what is a guest's in the output of ``TRACES``."""
    sections = [part.splitlines() for part in re.split(r"^== \w+\n", listing, flags=re.M)]
    domains, keys, links, loops, processes = sections
    found = [f"domain: {line.split()[0]}" for line in domains[1:] if line.split()[1] != "0"]
    roots = (OF_GUESTS.match(line) for line in keys)
    found += [f"xenstore: {root}" for root in dict.fromkeys(m[1] for m in roots if m)]
    for path in links[0].split() if links else []:
        if re.match("vif|tap", name := path.rpartition("/")[2]):
            found.append(f"network device: {name}")
    found += [f"loop device on {file}" for file in loops]
    return found + [f"process: {line}" for line in processes if "qemu" in line]


def flavours(*, xen: bool = True, hosts: int = 1, **options: Any) -> list[qemu.Flavour]:
    """Give the machines of a lab; ``options`` are those of ``Flavour``."""
    fast = qemu.available() and qemu.accelerator() == "kvm"
    wanted = {"memory": 4096 if xen else 2048, **options}
    return [
        qemu.Flavour(
            xen=xen,
            number=number,
            accelerator="kvm" if fast else "tcg",
            cpu=qemu.KVM_CPU if fast else qemu.TCG_CPU,
            **wanted,
        )
        for number in range(1, hosts + 1)
    ]


def started(request: pytest.FixtureRequest, wanted: Sequence[qemu.Flavour]) -> Iterator[Lab]:
    """Run a lab for a fixture; its logs are kept in ``XENLAB_LOGS`` when a test of it failed."""
    kind = f"{'xen' if wanted[0].xen else 'plain'}{len(wanted)}"
    name = f"t{os.getpid()}-{kind}-{request.node.name.replace('.py', '').replace('_', '-')[-7:]}"
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
