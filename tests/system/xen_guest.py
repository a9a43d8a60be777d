"""A guest on real Xen whose devices and memory come and go, with both daemons it needs."""

import shlex
from typing import Any

from tests.system.lab import leftovers
from tests.system.xen_daemon import FOLDER, PROJECT, STATE, XenDaemon, metadata
from tests.xenlab.lab import Host

VM = "7c1f1a52-0000-4000-8000-000000000011"
NAME = "devices"
BRIDGE = "guests0"
LOG = f"/var/log/xen/console/guest-{NAME}.log"
VIF = {"device": "0", "mac": "00:16:3e:00:00:10", "bridge": BRIDGE}


class Bench:
    """A daemon, and the guest whose devices come and go."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.networkd()
        self.daemon = XenDaemon(host)
        host.output(
            f"for i in $(seq 300); do [ -S {FOLDER}/networkd.sock ] && exit 0; sleep 1; done; "
            f"cat {FOLDER}/networkd.out; exit 1",
            timeout=330,
        )

    def networkd(self) -> None:
        """Start the network daemon with a bridge that the control domain is in.

        The daemon would take over the card we come in by, had an installer not named another.
        """
        program = (
            f"cd {PROJECT} && exec python3 -m xcp_networkd --backend bridge "
            f"--socket {FOLDER}/networkd.sock --state {STATE} --log-file {FOLDER}/networkd.log"
        )
        self.host.output(
            "mkdir -p /etc/firstboot.d/data; "
            "echo LABEL=eth2 >/etc/firstboot.d/data/management.conf; "
            f"mkdir -p {FOLDER} {STATE}; ip link add {BRIDGE} type bridge; "
            f"ip addr add 10.9.8.1/24 dev {BRIDGE}; ip link set {BRIDGE} up; "
            f"setsid bash -c {shlex.quote(program)} >{FOLDER}/networkd.out 2>&1 </dev/null & "
            f"echo $! >{FOLDER}/networkd.pid"
        )

    def stop(self) -> None:
        """End both."""
        self.daemon.stop()
        self.host.run(
            f"kill $(cat {FOLDER}/networkd.pid); ip link del {BRIDGE}; ip link del xenbr2; "
            "rm /etc/firstboot.d/data/management.conf"
        )

    def call(self, method: str, **params: Any) -> Any:
        """Make a call about the guest."""
        return self.daemon.call(method, id=VM, **params)

    def guest(self, ty: str = "PV", **more: Any) -> None:
        """Start the guest and wait until it is up; what an earlier test left is ended."""
        if self.state() not in ("", "Halted"):
            self.call("VM.shutdown", force=True)
        self.host.run(f"rm -f {LOG}")
        md = metadata(VM, NAME, ty) | more
        md["vm"]["pv"]["cmdline"] += " guest.ip=10.9.8.2/24"
        self.daemon.call("VM.import_metadata", md=md)
        self.call("VM.start")
        self.said(f"GUEST READY {NAME}")

    def state(self) -> str:
        """Give the guest's power state, nothing for none."""
        return self.states().get(VM, "")

    def states(self) -> dict[str, str]:
        """Give the power states of all VMs."""
        return {vm["id"]: vm["power_state"] for vm in self.daemon.call("VM.list")}

    def said(self, words: str) -> None:
        """Wait until the guest has written something to its console."""
        self.daemon.wait_for_console(NAME, words)

    def type(self, command: str) -> None:
        """Type a command at the guest's console."""
        path = self.call("CONSOLE.open", protocol="vt100")["path"]
        line = shlex.quote(command + "\n")
        self.host.output(f"printf %s {line} | timeout 60 socat -u - UNIX-CONNECT:{path} || true")


def screen(bench: Bench) -> str:
    """Give the first words of the guest's screen to who looks at it."""
    path = bench.call("CONSOLE.open", protocol="rfb")["path"]
    return bench.host.output(
        f"exec 3< <(exec socat -u UNIX-CONNECT:{path} -); timeout 60 head -c 12 <&3; kill $!"
    )


def clean(bench: Bench) -> None:
    """End the guest; nothing of it may be left."""
    for vm, state in bench.states().items():
        if state != "Halted":
            bench.daemon.call("VM.shutdown", id=vm, force=True)
        bench.daemon.call("VM.remove", id=vm)
    assert leftovers(bench.host) == []


def remember(bench: Bench, word: str) -> None:
    """Have the guest keep a word in its memory."""
    bench.type(f"echo {word} >/kept; sync; echo KEPT-{word}-")
    bench.said(f"KEPT-{word}-")


def remembered(bench: Bench, word: str) -> None:
    """Make sure that the guest still knows it, and still runs."""
    bench.host.run(f": >{LOG}")
    bench.type("echo FOUND-$(cat /kept)-")
    bench.said(f"FOUND-{word}-")
