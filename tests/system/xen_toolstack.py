"""The whole toolstack in a lab's control domain, and a client of it outside."""

import contextlib
import http.client
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import XenAPI

from tests.system.xen_daemon import put_bindings
from tests.xenlab.lab import PROJECT, Host

STATE = "/var/lib/xapi-py"
GUESTS = "/lab/extra/guest"
PASSWORD = "lab password"
ADDRESS = "10.0.2.15"
BRIDGE_ADDRESS = "10.9.8.1"
GUEST_ADDRESS = "10.9.8.2"
SR_DISK = "/dev/vdc"
MIB = 1 << 20
NULL = "OpaqueRef:NULL"

Record = dict[str, Any]

# As an installer leaves it: root may log in, and a disk is there for the local storage.
PREPARE = f"""
echo {shlex.quote("root:" + PASSWORD)} | chpasswd
printf '@include common-auth\\n@include common-account\\n' >/etc/pam.d/xapi
mkdir -p /etc/firstboot.d/data
echo "PARTITIONS={SR_DISK} TYPE=ext" | tr ' ' '\\n' >/etc/firstboot.d/data/default-storage.conf
"""
RUN = (
    f"XAPI_PY_PYTHON=/usr/bin/python3 XAPI_START_S=550 {PROJECT}/scripts/run --backend xen "
    f"--state {STATE} --profile newest"
)


class Toolstack:
    """The toolstack of a host, and a session of root: ``stack.x.VM.start(vm, False, False)``."""

    def __init__(self, host: Host) -> None:
        self.host = host
        put_bindings(host)
        host.output(PREPARE)
        host.output(f"{RUN} --address {ADDRESS} --detach", timeout=600)
        self.connect()

    def connect(self) -> None:
        """Log in from outside."""
        self.port, self.tls_port = self.host.forward(80), self.host.forward(443)
        self.session = XenAPI.Session(f"http://127.0.0.1:{self.port}", ignore_ssl=True)
        self.session.login_with_password("root", PASSWORD, "1.0", "lab")

    def stop(self) -> None:
        """End the toolstack; guests go on."""
        self.host.output(f"{RUN} --stop", timeout=120)

    @property
    def x(self) -> Any:
        """The calls of the API, as this session."""
        return self.session.xenapi

    def xe(self, *words: str, timeout: float = 300.0) -> str:
        """Run the command line client in the control domain."""
        program = ["env", f"XE_SOCKET={STATE}/host-1/run/xapi", f"PYTHONPATH={PROJECT}"]
        done = self.host.output([*program, "python3", "-P", "-m", "xe.main", *words], None, timeout)
        return done.strip()

    def logs(self) -> str:
        """Give what the daemons have logged last."""
        return self.host.run(f"tail -n 40 {STATE}/host-1/log/*.log").stdout

    # waiting

    def until(
        self,
        what: str,
        classes: str | tuple[str, ...],
        holds: Callable[[], Any],
        limit_s: float = 300.0,
        every_s: float = 30.0,
    ) -> Any:
        """Wait for something that events of these classes tell of; looked at now and then too."""
        names = [classes] if isinstance(classes, str) else list(classes)
        deadline = time.monotonic() + limit_s
        token = ""
        while True:
            if found := holds():
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"not within {limit_s:g} s: {what}\n{self.logs()}"
            token = self.x.event_from(names, token, min(left, every_s))["token"]

    def ended(self, task: str) -> list[str]:
        """Wait for a task's end and give its error, empty when it succeeded."""
        over = ("success", "failure", "cancelled")
        self.until("the task ends", "task", lambda: self.x.task.get_status(task) in over)
        error: list[str] = self.x.task.get_error_info(task)
        self.x.task.destroy(task)
        return error

    def until_state(self, vm: str, state: str, limit_s: float = 300.0) -> None:
        """Wait for what a guest does by itself."""
        holds = lambda: self.x.VM.get_power_state(vm) == state  # noqa: E731
        self.until(f"the guest is {state}", "vm", holds, limit_s)

    def said(self, name: str, words: str, limit_s: float = 300.0) -> None:
        """Wait until a guest has written something to its console."""
        until_said(self.host, name, words, limit_s)

    def until_storage(self) -> None:
        """Wait until the host's local storage is there."""

        def plugged() -> bool:
            found = self.x.SR.get_by_name_label("Local storage")
            pbds = [pbd for sr in found for pbd in self.x.SR.get_PBDs(sr)]
            return bool(pbds) and all(self.x.PBD.get_currently_attached(pbd) for pbd in pbds)

        self.until("the local storage is plugged", ("sr", "pbd"), plugged)

    # making

    def sr(self) -> str:
        """Give the SR of the host's local storage."""
        (sr,) = self.x.SR.get_by_name_label("Local storage")
        return str(sr)

    def network(self) -> str:
        """Give the network of a bridge that the control domain has an address on."""
        (pif,) = self.x.PIF.get_all_records_where('field "device" = "eth1"').items()
        if pif[1]["IP"] != BRIDGE_ADDRESS:
            self.x.PIF.reconfigure_ip(pif[0], "Static", BRIDGE_ADDRESS, "255.255.255.0", "", "")
        return str(pif[1]["network"])

    def vm(self, name: str, domain_type: str = "pv", memory_mib: int = 128, **fields: Any) -> str:
        """Install a guest from a template, without devices."""
        (template,) = self.x.VM.get_by_name_label("Other install media")
        vm = str(self.x.VM.clone(template, name))
        self.x.VM.set_domain_type(vm, domain_type)
        if domain_type != "hvm":
            self.x.VM.set_PV_kernel(vm, f"{GUESTS}/vmlinux")
            self.x.VM.set_PV_ramdisk(vm, f"{GUESTS}/initramfs.gz")
            words = f"console=hvc0 quiet mitigations=off guest.agent=1 guest.name={name}"
            self.x.VM.set_PV_args(vm, f"{words} guest.ip={GUEST_ADDRESS}/24")
        size = str(memory_mib * MIB)
        self.x.VM.set_memory_limits(vm, size, size, size, size)
        for field, value in fields.items():
            getattr(self.x.VM, f"set_{field}")(vm, value)
        self.x.VM.provision(vm)
        return vm

    def vif(self, vm: str, device: str = "0", network: str = "") -> str:
        """Give a guest a network card."""
        record = {
            "device": device,
            "network": network or self.network(),
            "VM": vm,
            "MAC": "",
            "MTU": "1500",
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }
        return str(self.x.VIF.create(record))

    def vdi(self, size_mib: int = 64) -> str:
        """Make a disk."""
        record = {
            "name_label": "a disk of the lab",
            "name_description": "",
            "SR": self.sr(),
            "virtual_size": str(size_mib * MIB),
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        }
        return str(self.x.VDI.create(record))

    def vbd(self, vm: str, vdi: str, device: str = "0") -> str:
        """Give a guest a disk."""
        record = {
            "VM": vm,
            "VDI": vdi,
            "userdevice": device,
            "bootable": device == "0",
            "mode": "RW",
            "type": "Disk",
            "empty": False,
            "unpluggable": True,
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }
        return str(self.x.VBD.create(record))

    def write(self, vdi: str, data: bytes) -> None:
        """Send a disk's content."""
        path = f"/import_raw_vdi?session_id={self.session.handle}&vdi={vdi}&format=raw"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, 300)) as sender:
            sender.request("PUT", path, data)
            answer = sender.getresponse()
            text = answer.read()  # the answer begins before the disk is written, and ends after
            assert answer.status == 200, (answer.status, text)

    def start(self, vm: str) -> str:
        """Start a Linux guest and wait until it is up; gives its name."""
        name = str(self.x.VM.get_name_label(vm))
        self.host.run(f"rm -f /var/log/xen/console/guest-{name}.log")
        self.x.VM.start(vm, False, False)
        self.said(name, f"GUEST READY {name}")
        return name

    def type(self, vm: str, command: str) -> None:
        """Type a command at a Linux guest's console."""
        path = f"/local/domain/{self.x.VM.get_domid(vm)}/console/tty"
        self.host.output(f"cat >$(xenstore-read {path})", f"{command}\n")

    def forget_console(self, vm: str) -> None:
        """Forget what a guest has written so far."""
        self.host.output(f": >/var/log/xen/console/guest-{self.x.VM.get_name_label(vm)}.log")

    def let_time_pass(self, seconds: int) -> None:
        """Put the control domain's clock forward: what waits for it does not wait any longer."""
        self.host.output(["date", "-s", f"+{seconds} seconds"])

    def remove_all(self) -> None:
        """Remove all guests, templates that tests made, and disks."""
        for vm, record in self.x.VM.get_all_records().items():
            if not record["is_control_domain"] and not record["is_default_template"]:
                self.destroy(vm)
        for disk in self.disks():
            self.x.VDI.destroy(disk)

    def disks(self) -> list[str]:
        """List the disks of the local storage, without what lies below snapshots of them."""
        found = self.x.VDI.get_all_records_where(f'field "SR" = "{self.sr()}"')
        return [ref for ref, record in found.items() if record["managed"]]

    def destroy(self, vm: str) -> None:
        """Remove a guest, or a snapshot, whatever it does now; its disks stay."""
        snapshot = self.x.VM.get_is_a_snapshot(vm)
        if not snapshot and self.x.VM.get_power_state(vm) != "Halted":
            self.x.VM.hard_shutdown(vm)
        self.x.VM.destroy(vm)

    # looking

    def ping(self, address: str = GUEST_ADDRESS) -> bool:
        """Say whether a guest answers."""
        return self.host.run(f"ping -c 1 -w 20 {address}", timeout=60).returncode == 0

    def visit(self, address: str = GUEST_ADDRESS) -> tuple[int, float]:
        """Ask a guest how often it was asked, and for how many seconds it has run."""
        ask = f"nc -w 20 {address} 9000 </dev/null"
        until = f"for i in $(seq 20); do {ask} && exit 0; sleep 1; done; exit 1"
        words = self.host.output(until, timeout=480).split()  # its network comes up meanwhile
        return int(words[words.index("connection") + 1]), float(words[-1])


def until_said(host: Host, name: str, words: str, limit_s: float = 300.0) -> None:
    """Wait until a guest has written something to its console."""
    log = f"/var/log/xen/console/guest-{name}.log"
    follow = f"grep -qm1 -F {shlex.quote(words)} <(exec tail -n +1 -F {log} 2>/dev/null)"
    script = f"timeout {int(limit_s)} bash -c {shlex.quote(follow)} || {{ tail {log}; exit 1; }}"
    host.output(script, timeout=limit_s + 60)


@contextlib.contextmanager
def running(host: Host) -> Iterator[Toolstack]:
    """Run the toolstack on a host."""
    stack = Toolstack(host)
    stack.until_storage()
    yield stack
    stack.stop()
