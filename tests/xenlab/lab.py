"""Labs: one or more running machines under a name.

A machine starts from a saved state ("ready": booted, its agent answering) in seconds; the state
is made once for each kind of machine and kept in the cache.
"""

import compileall
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import cache_from_source
from pathlib import Path

from tests.xenlab import cache, image, qemu
from tests.xenlab.agent import Agent, Command
from tests.xenlab.errors import LabError
from tests.xenlab.qemu import Cable, Flavour, Place, Process

BOOT_TIMEOUT_S, RESTORE_TIMEOUT_S, SAVE_TIMEOUT_S = 600.0, 120.0, 120.0
LIFETIME_S = 3600.0
PROJECT = "/opt/xapi-py"
COPIED = ("ocaml_compat", "xapi_py", "xenops", "sm", "xcp_networkd", "xe", "scripts", "tests")
COPIED_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")


def runtime_folder() -> Path:
    """Give the folder where running labs have theirs; its paths are short enough for sockets."""
    base = Path(
        os.environ.get("XENLAB_RUN") or Path(tempfile.gettempdir(), f"xenlab-{os.getuid()}")
    )
    base.mkdir(mode=0o700, exist_ok=True)
    return base


class Host:
    """One running machine."""

    def __init__(self, flavour: Flavour, process: Process, agent: Agent) -> None:
        self.flavour = flavour
        self.process = process
        self.agent = agent
        self.name = flavour.name
        self.address = f"10.9.0.{flavour.number}"
        """Its address for the other machines of the lab, on eth1."""

    def run(
        self, command: Command, input: bytes | str | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root: shell text, or words.  Exit code 124 when it took too long."""
        return self.agent.run(command, input, timeout)

    def output(
        self, command: Command, input: bytes | str | None = None, timeout: float = 120.0
    ) -> str:
        """Run a command that must succeed; give its output.  Errors: LabError with all it said."""
        done = self.run(command, input, timeout)
        if done.returncode:
            said = done.stdout + done.stderr
            raise LabError(f"{self.name}: {command}: exit code {done.returncode}: {said[-4000:]}")
        return done.stdout

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.agent.put(path, data, mode)

    def get(self, path: str) -> bytes:
        return self.agent.get(path)

    def forward(self, port: int) -> int:
        """Give a port of 127.0.0.1 here that leads to a TCP port of the machine's eth0."""
        here = free_port()
        with self.process.control() as control:
            control.monitor(f"hostfwd_add nic0 tcp:127.0.0.1:{here}-10.0.2.15:{port}")
        return here

    def cable(self, nic: int, *, connected: bool) -> None:
        """Pull the cable of eth<nic> out, or put it back: the card's carrier follows."""
        with self.process.control() as control:
            control.call("set_link", name=f"card{nic}", up=connected)

    def set_clock(self) -> None:
        """Set the machine's clock, which stood still while it was saved, to this one's."""
        self.output(["date", "-u", "-s", f"@{time.time():.3f}"])

    def snapshot(self, name: str) -> None:
        """Keep the machine as it is, under a name, until the lab ends; a name can be reused."""
        with self.process.control(SAVE_TIMEOUT_S) as control:
            control.monitor(f"savevm {name}")

    def restore(self, name: str) -> None:
        """Go back to a snapshot; the clock is set again."""
        with self.process.control(SAVE_TIMEOUT_S) as control:
            control.call("stop")
            control.monitor(f"loadvm {name}")
            control.call("cont")
        self.agent.wait(RESTORE_TIMEOUT_S, self.process.alive)
        self.set_clock()

    def put_project(self) -> None:
        """Copy this source tree to /opt/xapi-py; only what changed since the last time."""
        archive, left_out = project_archive(self._present_files())
        if archive is None and not left_out:
            return
        if left_out:
            self.output(["xargs", "-0", "rm", "-f"], "\0".join(left_out))
        if archive is not None:
            self.output(["tar", "-xzf", "-", "-C", PROJECT], archive, timeout=120)

    def _present_files(self) -> dict[str, str]:
        listing = self.output(
            f"mkdir -p {PROJECT} && cd {PROJECT} && "
            "find . -type f -not -path '*/__pycache__/*' -printf '%P %s %T@\\n'"
        )
        return dict(line.split(" ", 1) for line in listing.splitlines())


def project_archive(present: dict[str, str]) -> tuple[bytes | None, list[str]]:
    """Pack the files of this tree that ``present`` (path: size and time) lacks.

    Gives the packed archive, None when nothing is new, and the files that are there no more.
    """
    packed = io.BytesIO()
    wanted = set()
    compiled = _compile()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for path in _project_files():
            name = str(path.relative_to(image.ROOT))
            wanted.add(name)
            stat = path.stat()
            size, _, when = present.get(name, "- 0").partition(" ")
            if size != str(stat.st_size) or int(float(when)) != int(stat.st_mtime):
                archive.add(path, name, recursive=False)
                if compiled and (cached := Path(cache_from_source(path))).exists():
                    archive.add(cached, str(cached.relative_to(image.ROOT)), recursive=False)
        new = len(archive.getnames())
    gone = [f"{PROJECT}/{name}" for name in present if name not in wanted]
    return (packed.getvalue() if new else None), gone


def _compile() -> bool:
    """Compile the project if this Python is the machine's, which takes a minute for it."""
    if sys.version_info[:2] != image.PYTHON or sys.dont_write_bytecode:
        return False
    for top in COPIED:
        compileall.compile_dir(image.ROOT / top, quiet=2)
    return True


def _project_files() -> Iterator[Path]:
    skipped = {"__pycache__", "node_modules", "data"}
    for top in COPIED:
        for folder, folders, files in os.walk(image.ROOT / top):
            folders[:] = sorted(set(folders) - skipped)
            yield from (Path(folder, file) for file in sorted(files))
    yield from (image.ROOT / name for name in COPIED_FILES)


@dataclass
class Lab:
    """Running machines under a name."""

    name: str
    folder: Path
    hosts: list[Host]

    @property
    def host(self) -> Host:
        """The first machine."""
        return self.hosts[0]

    def down(self) -> None:
        """End all machines and remove what they had."""
        for host in self.hosts:
            host.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def collect_logs(self, target: Path) -> None:
        """Copy the machines' consoles and daemon logs to a folder, as far as they can be had."""
        for host in self.hosts:
            folder = target / host.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "console.log").write_bytes(host.process.log())
            with contextlib.suppress(OSError, LabError):
                logs = host.run(COLLECT, timeout=30).stdout
                (folder / "state.txt").write_text(logs, encoding="utf-8")


COLLECT = """
for command in 'xl list -v' 'xl info' 'xl dmesg' 'xenstore-ls -fp' 'dmesg' 'ps axwwf' 'ip -d addr' \
    'losetup -a' 'lsblk' 'mount' 'ovs-vsctl show'; do
    echo "== $command"
    timeout 5 $command 2>&1 | tail -n 400
done
for file in /var/log/xen/* /var/log/xen/console/* /var/log/xapi/* /var/log/*.log; do
    [ -f "$file" ] || continue
    echo "== $file"
    tail -n 200 "$file"
done
"""


def free_ports(count: int, kind: socket.SocketKind) -> list[int]:
    """Give ports of 127.0.0.1 that nobody uses now."""
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            holder = held.enter_context(socket.socket(socket.AF_INET, kind))
            holder.bind(("127.0.0.1", 0))
            found.append(int(holder.getsockname()[1]))
        return found


def free_port() -> int:
    """Give a TCP port that nobody uses now."""
    return free_ports(1, socket.SOCK_STREAM)[0]


def places(folder: Path, flavours: Sequence[Flavour]) -> list[Place]:
    """Lay the machines' files and cables out.

    NIC n of the first machine leads to NIC n of the second; a single machine's NICs lead to each
    other: 1 to 2, 3 to 4.
    """
    made = []
    ports = [free_ports(flavour.nics, socket.SOCK_DGRAM) for flavour in flavours]
    for index, flavour in enumerate(flavours):
        if len(flavours) == 1:
            cables = [Cable(hub=1 + nic // 2) for nic in range(flavour.nics)]
        else:
            pairs = zip(ports[index], ports[index ^ 1], strict=True)
            cables = [Cable(own_port=own, far_port=far) for own, far in pairs]
        place = Place(folder / flavour.name, free_port(), tuple(cables))
        place.folder.mkdir(parents=True)
        made.append(place)
    return made


def ready_state(flavour: Flavour, built: image.Image) -> Path:
    """Give the folder with a booted machine's disks and memory, made now if need be."""
    nowhere = Place(Path("/"), 1, (Cable(hub=1),) * flavour.nics)
    words = qemu.command_line(flavour, replace_paths(built), nowhere)
    name = cache.key(built.name, words, flavour.disk_size, qemu.version())
    return cache.entry("ready", name, lambda folder: _boot_and_save(folder, flavour, built))


def replace_paths(built: image.Image) -> image.Image:
    """Give the image with paths that are the same everywhere."""
    return image.Image(built.name, Path("/base"), Path("/extra"))


def _boot_and_save(folder: Path, flavour: Flavour, built: image.Image) -> None:
    with tempfile.TemporaryDirectory(dir=runtime_folder(), prefix="boot-") as scratch:
        (place,) = places(Path(scratch), [flavour])
        qemu.make_disk(folder / "disk0.qcow2", backing=(built.root_disk, "raw"))
        for number in range(1, flavour.disks + 1):
            qemu.make_disk(folder / f"disk{number}.qcow2", size=flavour.disk_size)
        for number in range(flavour.disks + 1):
            place.disk(number).symlink_to(folder / f"disk{number}.qcow2")
        words = qemu.command_line(flavour, built, place)
        process = Process.start(words, place, BOOT_TIMEOUT_S + SAVE_TIMEOUT_S, detached=False)
        try:
            process.wait_booted(BOOT_TIMEOUT_S)
            agent = Agent(place.agent_port)
            agent.wait(RESTORE_TIMEOUT_S, process.alive)
            agent.run(WARM_UP, timeout=120)
            with process.control(SAVE_TIMEOUT_S) as control:
                _save(control, folder / "memory")
                control.call("quit")
            qemu.wait_until(lambda: not process.alive(), 30, "QEMU ends")
            shutil.copyfile(place.console, folder / "console.log")
        finally:
            process.stop()


WARM_UP = "python3 -c 'import twisted.internet.reactor, lxml.etree, orjson, yaml'; sync"


def _save(control: qemu.Control, file: Path) -> None:
    # Saved while it runs, or it would stand still when it starts again; with so much time for
    # the last step there is no step before it.
    limits = {"max-bandwidth": 1 << 40, "downtime-limit": 600_000}
    control.call("migrate-set-parameters", **limits)
    control.call("migrate", uri=f"exec:cat >{file}")

    def finished() -> bool:
        state = control.call("query-migrate")
        assert isinstance(state, dict)
        if state["status"] == "failed":
            raise LabError(f"the machine cannot be saved: {state}")
        return bool(state["status"] == "completed")

    qemu.wait_until(finished, SAVE_TIMEOUT_S, "the machine is saved")


def up(
    name: str, flavours: Sequence[Flavour], *, lifetime: float = LIFETIME_S, detached: bool = False
) -> Lab:
    """Start a lab.  Errors: LabUnavailable, LabError; nothing runs after them."""
    if not NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name for a lab: letters, digits and dashes, at most 24")
    names()  # one of this name that ended is in nobody's way
    built = image.image()
    states = [ready_state(flavour, built) for flavour in flavours]
    folder = runtime_folder() / name
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise LabError(f"lab {name} is there already: scripts/xenlab down --name {name}") from None
    started: list[Process] = []
    try:
        for flavour, place, state in zip(flavours, places(folder, flavours), states, strict=True):
            started.append(_resume(flavour, built, place, state, lifetime, detached))
        hosts = [
            Host(flavour, process, Agent(process.place.agent_port))
            for flavour, process in zip(flavours, started, strict=True)
        ]
        for host in hosts:
            host.agent.wait(RESTORE_TIMEOUT_S, host.process.alive)
            host.set_clock()
        lab = Lab(name, folder, hosts)
        _remember(lab)
        return lab
    except BaseException as error:
        if isinstance(error, LabError):
            logs = b"".join(process.log()[-2000:] for process in started)
            error.add_note(logs.decode(errors="replace"))
        for process in started:
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _resume(
    flavour: Flavour,
    built: image.Image,
    place: Place,
    state: Path,
    lifetime: float,
    detached: bool,
) -> Process:
    for number in range(flavour.disks + 1):
        qemu.make_disk(place.disk(number), backing=(state / f"disk{number}.qcow2", "qcow2"))
    words = qemu.command_line(flavour, built, place)
    words += ["-incoming", f"exec:cat {state / 'memory'}"]
    return Process.start(words, place, lifetime, detached=detached)


def _remember(lab: Lab) -> None:
    known = [
        {
            "flavour": asdict(host.flavour),
            "pid": host.process.pid,
            "agent_port": host.process.place.agent_port,
        }
        for host in lab.hosts
    ]
    (lab.folder / "lab.json").write_text(json.dumps(known), encoding="utf-8")


def find(name: str) -> Lab:
    """Give a lab that some process started.  Errors: LabError when there is none."""
    folder = runtime_folder() / name
    try:
        known = json.loads((folder / "lab.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"there is no lab {name}") from None
    hosts = []
    for item in known:
        try:
            flavour = Flavour(**item["flavour"])
        except TypeError:
            raise LabError(f"lab {name} is of another version") from None
        place = Place(folder / flavour.name, item["agent_port"], ())
        hosts.append(Host(flavour, Process(place, item["pid"]), Agent(item["agent_port"])))
    return Lab(name, folder, hosts)


def names() -> list[str]:
    """Give the names of all labs that run; what ended by itself is cleared away."""
    running = []
    for path in sorted(runtime_folder().glob("*/lab.json")):
        try:
            lab = find(path.parent.name)
        except LabError:
            continue
        if any(host.process.alive() for host in lab.hosts):
            running.append(lab.name)
        else:
            lab.down()
    return running
