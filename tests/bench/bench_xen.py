"""What operations on real Xen cost next to ``xl`` on the same lab host, in turn.

Run as root: python -m tests.bench.bench_xen [ROUNDS].  Three ways to do the same to a PVH guest of
128 MiB: ``xl`` (its own time in the control domain), the domain daemon's calls and the whole
toolstack through the API (both with the way to the emulated machine and back).  Each round does
all three, one after the other, so that all meet the same load; the table has medians in seconds
and the medians of the ratios to ``xl``.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.system.lab import flavours
from tests.system.xen_daemon import Calls, metadata, relay
from tests.system.xen_toolstack import GUESTS, STATE, Toolstack, running, until_said
from tests.xenlab import lab as labs
from tests.xenlab.lab import Host

XL, DAEMON, API = "xl", "xenopsd", "toolstack"
VM = "7c1f1a52-0000-4000-8000-0000000000be"
BRIDGE = "xenbr1"
RAW, QCOW2, IMAGE = "/root/bench.img", "/root/bench.qcow2", "/root/bench.image"
STEPS = (
    "create to running",
    "disk plugged, raw file",
    "disk unplugged, raw file",
    "disk plugged, qcow2",
    "disk unplugged, qcow2",
    "NIC plugged",
    "NIC unplugged",
    "suspend",
    "resume",
    "clean shutdown",
    "destroy",
)

Times = dict[tuple[str, str], list[float]]


class Watch:
    """Times of steps."""

    def __init__(self) -> None:
        self.times: Times = {}

    def add(self, who: str, step: str, seconds: float) -> None:
        self.times.setdefault((who, step), []).append(seconds)
        print(f"{who:10} {step:24} {seconds:7.2f} s", file=sys.stderr, flush=True)

    @contextmanager
    def step(self, who: str, step: str) -> Iterator[None]:
        """Measure what is done inside."""
        start = time.monotonic()
        yield
        self.add(who, step, time.monotonic() - start)


def booted(host: Host, name: str, begin: Callable[[], None]) -> None:
    """Start a guest and wait until it has come up."""
    host.output(f"rm -f /var/log/xen/console/guest-{name}.log")
    begin()
    until_said(host, name, f"GUEST READY {name}")


def by_xl(host: Host, watch: Watch) -> None:
    """Do all steps with xl."""

    def xl(step: str, command: str) -> None:
        words = f"TIMEFORMAT=%R; time xl {command} >/dev/null 2>/tmp/xl.err"
        done = host.output(f"{{ {words}; }} 2>&1 || {{ cat /tmp/xl.err; exit 1; }}", timeout=600)
        watch.add(XL, step, float(done.split()[-1]))

    host.put(
        "/root/bench.cfg",
        f'name = "bench-xl"\ntype = "pvh"\nmemory = 128\nvcpus = 1\nkernel = "{GUESTS}/vmlinux"\n'
        f'ramdisk = "{GUESTS}/initramfs.gz"\n'
        'extra = "console=hvc0 quiet mitigations=off guest.name=bench-xl"\n'.encode(),
    )
    booted(host, "bench-xl", lambda: xl("create to running", "create -q /root/bench.cfg"))
    for kind, path in (("raw file", RAW), ("qcow2", QCOW2)):
        disk = f"format={kind.split()[0]},vdev=xvdb,access=rw,target={path}"
        xl(f"disk plugged, {kind}", f"block-attach bench-xl {disk}")
        xl(f"disk unplugged, {kind}", "block-detach bench-xl xvdb")
    xl("NIC plugged", f"network-attach bench-xl bridge={BRIDGE} mac=00:16:3e:00:00:be")
    xl("NIC unplugged", "network-detach bench-xl 0")
    xl("suspend", f"save bench-xl {IMAGE}.xl")
    xl("resume", f"restore {IMAGE}.xl")
    xl("clean shutdown", "shutdown -w bench-xl")
    host.output("xl create -q /root/bench.cfg", timeout=300)
    xl("destroy", "destroy bench-xl")


def by_daemon(host: Host, daemon: Calls, watch: Watch) -> None:
    """Do all steps with calls of the domain daemon."""
    md = metadata(VM, "bench-daemon", "PVH")
    vif = {"device": "0", "mac": "00:16:3e:00:00:bf", "bridge": BRIDGE}
    disk = {"device": "xvdb", "backend": {"path": RAW}}

    def call(step: str, method: str, **params: object) -> object:
        with watch.step(DAEMON, step):
            return daemon.call(method, id=VM, **params)

    daemon.call("VM.import_metadata", md=md)
    booted(host, "bench-daemon", lambda: void(call("create to running", "VM.start")))
    call("disk plugged, raw file", "VBD.plug", device="xvdb", vbd=disk)
    call("disk unplugged, raw file", "VBD.unplug", device="xvdb")
    call("NIC plugged", "VIF.plug", device="0", vif=vif)
    call("NIC unplugged", "VIF.unplug", device="0")
    host.output(f"truncate -s 400M {IMAGE}")
    given = call("suspend", "VM.suspend", disk={"path": IMAGE})
    assert isinstance(given, dict)
    daemon.call("VM.import_metadata", md=md | {"domains": given["domains"]})
    call("resume", "VM.resume", disk={"path": IMAGE})
    call("clean shutdown", "VM.shutdown", timeout_s=300)
    daemon.call("VM.start", id=VM)
    call("destroy", "VM.shutdown", force=True)
    daemon.call("VM.remove", id=VM)


def by_api(stack: Toolstack, watch: Watch) -> None:
    """Do all steps as a client of the API."""
    x, vm = stack.x, stack.vm("bench-api", "pvh")

    def call(step: str, method: Callable[..., object], *params: object) -> None:
        with watch.step(API, step):
            method(*params)

    def start() -> None:
        call("create to running", x.VM.start, vm, False, False)

    booted(stack.host, "bench-api", start)
    disk, nic = stack.vbd(vm, stack.vdi(64), "1"), stack.vif(vm)
    call("disk plugged, qcow2", x.VBD.plug, disk)
    call("disk unplugged, qcow2", x.VBD.unplug, disk)
    call("NIC plugged", x.VIF.plug, nic)
    call("NIC unplugged", x.VIF.unplug, nic)
    x.VBD.destroy(disk)
    x.VIF.destroy(nic)
    call("suspend", x.VM.suspend, vm)
    call("resume", x.VM.resume, vm, False, False)
    call("clean shutdown", x.VM.clean_shutdown, vm)
    x.VM.start(vm, False, False)
    call("destroy", x.VM.hard_shutdown, vm)
    stack.remove_all()


def void(_: object) -> None:
    """Take no result."""


def table(times: Times) -> str:
    """Give medians, and the medians of the ratios to xl."""
    lines = [f"{'':26}{'xl':>8}{'xenopsd':>10}{'ratio':>7}{'toolstack':>11}{'ratio':>7}"]
    for step in STEPS:
        reference = times[XL, step]
        line = f"{step:26}{statistics.median(reference):8.2f}"
        for who, width in ((DAEMON, 10), (API, 11)):
            if ours := times.get((who, step)):
                ratio = statistics.median(a / b for a, b in zip(ours, reference, strict=True))
                line += f"{statistics.median(ours):{width}.2f}{ratio:7.2f}"
            else:
                line += " " * (width + 7)
        lines.append(line.rstrip())
    return "\n".join(lines)


def measure(host: Host, rounds: int) -> str:
    """Measure on a lab host and give the table."""
    watch = Watch()
    with running(host) as stack:
        stack.network()
        host.output(f"truncate -s 64M {RAW}; qemu-img create -q -f qcow2 {QCOW2} 64M")
        socket = f"{STATE}/host-1/run/xenopsd.sock"
        daemon = Calls(relay(host, socket, 7701, "/run/bench-relay.pid"))
        for _ in range(rounds):
            by_xl(host, watch)
            by_daemon(host, daemon, watch)
            by_api(stack, watch)
    return table(watch.times)


def main() -> None:
    """Start a lab, measure, print."""
    lab = labs.up("bench-xen", flavours())
    try:
        lab.host.put_project()
        print(measure(lab.host, int(sys.argv[1]) if sys.argv[1:] else 3))
    finally:
        lab.down()


if __name__ == "__main__":
    main()
