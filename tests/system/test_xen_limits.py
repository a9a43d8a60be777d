"""What a guest's own driver may send, on real Xen: netback keeps to the limit."""

from collections.abc import Iterator

import pytest

from tests.system.xen_guest import VIF, VM, Bench, clean
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

RECEIVE = """
nc -l 10.9.8.1 5001 | {{ head -c {first} >/dev/null; s=$(date +%s%N); n=$(wc -c)
echo $n $(($(date +%s%N) - s)) >/root/flow; }} >/dev/null 2>&1 </dev/null &
"""


@pytest.fixture(scope="module")
def bench(_xen_lab: Host) -> Iterator[Bench]:
    made = Bench(_xen_lab)
    yield made
    clean(made)
    made.stop()


def kib_per_s(bench: Bench, kib: int) -> float:
    """Have the guest send that much over TCP; what comes first is not counted."""
    bench.host.output("rm -f /root/flow" + RECEIVE.format(first=65536))
    bench.type(f"dd if=/dev/zero bs=1024 count={kib} | nc 10.9.8.1 5001; echo SENT-{kib}-")
    bench.daemon.until(
        "all of it came", lambda: bench.host.run("[ -s /root/flow ]").returncode == 0
    )
    count, nanoseconds = bench.host.output("cat /root/flow").split()
    return int(count) / 1024 / (int(nanoseconds) / 1e9)


def test_guest_sends_no_more_than_its_limit_and_changes_count_at_once(bench: Bench) -> None:
    bench.guest(vifs=[VIF | {"rate_kbps": 100}])
    bench.daemon.until(
        "the guest answers",
        lambda: bench.host.run("ping -c 1 -W 1 10.9.8.2").returncode == 0,
    )
    found = [kib_per_s(bench, 700)]
    for rate in (200, 0):
        md = bench.daemon.call("VM.export_metadata", id=VM)
        md["vifs"][0]["rate_kbps"] = rate
        bench.daemon.call("VM.import_metadata", md=md)
        found.append(kib_per_s(bench, 1400))
    print("limits of 100, 200 and none:", *(f"{rate:.0f}" for rate in found), "KiB/s")
    assert 75 < found[0] < 110
    assert 150 < found[1] < 220
    assert found[2] > 300
