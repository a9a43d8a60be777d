"""The emulator's command line, its process and its control socket."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.xenlab.errors import LabError
from tests.xenlab.image import Image

PROGRAM = "qemu-system-x86_64"
# Without npt there is no HVM and PVH guest, with smap QEMU 7.2 kills the control domain;
# the rest is what Python's compiled packages take for granted.
TCG_CPU = "qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt"
KVM_CPU = "host"
SPARE_CARD = "52:54:00:00:ff:01"
CRASHED = re.compile(rb"Panic on CPU|Dom0 crashed|Kernel panic|Out of memory: ")
READY = b"lab: READY"


@dataclass(frozen=True)
class Flavour:
    """What a machine is like.  Memory in MiB; ``nics`` and ``disks`` come on top of the fixed ones.

    ``number`` tells the machines of one lab apart (1 and up): name, addresses, MAC addresses.
    """

    xen: bool = True
    number: int = 1
    cpus: int = 1
    memory: int = 4096
    control_domain_memory: int = 1536
    nics: int = 2
    disks: int = 2
    disk_size: str = "8G"
    accelerator: str = "tcg"
    cpu: str = TCG_CPU
    iommu: bool = False
    """With an IOMMU (Intel's: QEMU does not save AMD's), and a card more (e1000) for a guest."""

    @property
    def name(self) -> str:
        return f"lab{self.number}"


@dataclass(frozen=True)
class Cable:
    """Where a NIC leads: inside the same machine to the other NIC of ``hub``, else over UDP.

    UDP, not unix sockets: to a machine that does not read, QEMU's event loop would try to send
    without pause.
    """

    hub: int = 0
    own_port: int = 0
    far_port: int = 0

    def netdev(self, name: str) -> str:
        if self.hub:
            return f"hubport,id={name},hubid={self.hub}"
        own = f"local.type=inet,local.host=127.0.0.1,local.port={self.own_port}"
        far = f"remote.type=inet,remote.host=127.0.0.1,remote.port={self.far_port}"
        return f"dgram,id={name},{own},{far}"


@dataclass(frozen=True)
class Place:
    """Where one running machine has its files, and its NICs' cables."""

    folder: Path
    agent_port: int
    cables: tuple[Cable, ...]

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def control(self) -> Path:
        return self.folder / "qmp"

    @property
    def output(self) -> Path:
        return self.folder / "qemu.log"

    def disk(self, number: int) -> Path:
        """Give a disk's file: 0 is the root disk, 1 and up the blank ones."""
        return self.folder / f"disk{number}.qcow2"


def accelerator() -> str:
    """Give the fastest way this machine can run guests: ``kvm`` or ``tcg``.

    A /dev/kvm without the processor's own virtualisation below it (nested paravirtual kinds)
    runs no unmodified kernel in useful time, so the vendor's module must be there.
    """
    for vendor in ("kvm_intel", "kvm_amd"):
        if Path(f"/sys/module/{vendor}").exists() and os.access("/dev/kvm", os.R_OK | os.W_OK):
            return "kvm"
    return "tcg"


def version() -> str:
    """Give the emulator's version: saved machines belong to it."""
    done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, timeout=30)
    return done.stdout.splitlines()[0]


def command_line(flavour: Flavour, image: Image, place: Place) -> list[str]:
    """Give the words that start a machine from its beginning."""
    acceleration = "kvm" if flavour.accelerator == "kvm" else "tcg,thread=multi,tb-size=512"
    machine = "q35,kernel-irqchip=split" if flavour.iommu else "q35"
    words = [
        *(PROGRAM, "-name", flavour.name, "-machine", machine, "-accel", acceleration),
        *("-cpu", flavour.cpu, "-smp", str(flavour.cpus), "-m", str(flavour.memory)),
        *("-display", "none", "-nodefaults", "-no-user-config"),
        *("-serial", f"file:{place.console}"),
        *("-qmp", f"unix:{place.control},server=on,wait=off"),
        *(("-device", "intel-iommu,intremap=on") if flavour.iommu else ()),
        *_kernel(flavour, image),
        *_drive("root", place.disk(0), "qcow2"),
        *_drive("extra", image.extra_disk, "raw", ",read-only=on"),
    ]
    for number in range(1, flavour.disks + 1):
        words += _drive(f"blank{number}", place.disk(number), "qcow2")
    forward = f"hostfwd=tcp:127.0.0.1:{place.agent_port}-10.0.2.15:7"
    words += ["-netdev", f"user,id=nic0,restrict=on,{forward}", *_nic(flavour, 0)]
    for number, cable in enumerate(place.cables, 1):
        words += ["-netdev", cable.netdev(f"nic{number}"), *_nic(flavour, number)]
    if flavour.iommu:
        words += ["-netdev", "user,id=spare,restrict=on"]
        words += ["-device", f"e1000,netdev=spare,mac={SPARE_CARD},romfile="]
    return words


def _kernel(flavour: Flavour, image: Image) -> list[str]:
    linux = (
        f"root=/dev/vda quiet mitigations=off net.ifnames=0 panic=1 "
        f"lab.name={flavour.name} lab.number={flavour.number}"
    )
    if not flavour.xen:
        linux += " console=ttyS0"
        return ["-kernel", str(image.kernel), "-append", linux, "-initrd", str(image.initramfs)]
    dom0 = flavour.control_domain_memory
    xen = (
        "console=com1 com1=115200 loglvl=info guest_loglvl=info bootscrub=0 watchdog=0 "
        f"dom0_mem={dom0}M,max:{dom0}M dom0_max_vcpus={flavour.cpus} "
        "spec-ctrl=no xpti=no pv-l1tf=no"
    )
    modules = f"{image.elf_kernel} console=hvc0 {linux},{image.initramfs}"
    return ["-kernel", str(image.xen), "-append", xen, "-initrd", modules]


def _drive(name: str, file: Path, kind: str, more: str = "") -> list[str]:
    drive = f"if=none,id={name},file={file},format={kind},cache=unsafe,aio=threads{more}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def _nic(flavour: Flavour, number: int) -> list[str]:
    mac = f"52:54:00:00:{flavour.number:02x}:{number:02x}"
    return ["-device", f"virtio-net-pci,id=card{number},netdev=nic{number},mac={mac},romfile="]


class Control:
    """QEMU's control socket."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        self._lines.readline()
        self.call("qmp_capabilities")

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def call(self, command: str, **arguments: object) -> object:
        """Give the answer of a QMP command.  Errors: LabError with its text."""
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            line = self._lines.readline()
            if not line:
                raise LabError(f"QEMU ended during {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def monitor(self, line: str) -> str:
        """Run a command of QEMU's own command line.  Errors: LabError with what it says."""
        said = str(self.call("human-monitor-command", **{"command-line": line})).strip()
        if said.startswith("Error"):
            raise LabError(f"{line}: {said}")
        return said


class Process:
    """A QEMU of ours.  It ends with this process unless ``detached``, and after ``lifetime``."""

    def __init__(self, place: Place, pid: int) -> None:
        self.place = place
        self.pid = pid
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, words: list[str], place: Place, lifetime: float, *, detached: bool) -> "Process":
        limit = ["timeout", "--kill-after=5", f"{lifetime:.0f}"]
        tie = [] if detached else ["setpriv", "--pdeathsig", "KILL"]
        # timeout(1) stays as the parent; killed itself it leaves QEMU, so QEMU watches it too.
        words = [*tie, *limit, "setpriv", "--pdeathsig", "KILL", *words]
        with place.output.open("wb") as output:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        process = cls(place, child.pid)
        process._child = child
        return process

    def alive(self) -> bool:
        if self._child:
            return self._child.poll() is None
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        return stat.rsplit(")", 1)[1].split()[0] != "Z"

    def stop(self) -> None:
        """End it now; nothing it did since its start is kept."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._child:
            self._child.wait(10)
        wait_until(lambda: not self.alive(), 10, "QEMU ends")

    def control(self, timeout: float = 60.0) -> Control:
        return Control(self.place.control, timeout)

    def log(self) -> bytes:
        """Give what the machine wrote to its console, and QEMU to its own output."""
        parts = []
        for path in (self.place.output, self.place.console):
            with contextlib.suppress(OSError):
                parts.append(path.read_bytes())
        return b"".join(parts)

    def wait_booted(self, timeout: float) -> None:
        """Wait until the machine says it is ready.  Errors: LabError with the end of its log."""

        def settled() -> bool:
            log = self.log()
            return READY in log or not self.alive() or CRASHED.search(log) is not None

        with contextlib.suppress(LabError):
            wait_until(settled, timeout, "the machine starts")
        if READY not in self.log():
            end = self.log()[-3000:].decode(errors="replace")
            raise LabError(f"the machine did not start within {timeout:.0f} s:\n{end}")


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait for ``condition``.  Errors: LabError naming ``what`` after ``timeout`` seconds."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            raise LabError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.05)


def make_disk(path: Path, *, backing: tuple[Path, str] | None = None, size: str = "") -> None:
    """Make an empty qcow2 disk, or one on top of another file (path, format)."""
    words = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if backing:
        words += ["-b", str(backing[0]), "-F", backing[1]]
    done = subprocess.run(
        [*words, str(path), *([size] if size else [])], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise LabError(f"qemu-img: {done.stderr}")


def available() -> bool:
    return shutil.which(PROGRAM) is not None
