"""What we ask of QEMU, asked of a real one: its start, its drives, its state, its end.

Its board is a plain PC that never runs: Xen is not needed.
"""

import shutil
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred

from tests.unit.xenops.factories import make_md
from tests.unit.xenops.xen.device_bench import DOMID, DeviceBench
from xenops.backends.xen import qemu
from xenops.backends.xen.device_model import DeviceModel
from xenops.backends.xen.emulators import Emulator
from xenops.backends.xen.qemu_command import Drive
from xenops.metadata import VmMetadata
from xenops.qmp.client import QmpError

pytestmark = pytest.mark.integration

reactor: Any = _reactor
PROGRAM = shutil.which("qemu-system-x86_64") or shutil.which("qemu-system-i386")
T = TypeVar("T")


class Wiring:
    """An empty drive, and a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def drives(self, domid: int) -> list[Drive]:
        disk = str(self.folder / "disk")
        return [Drive("xvda", "Disk", "RW", disk), Drive("xvdd", "CDROM", "RO")]

    async def join_taps(self, domid: int, md: VmMetadata, devices: Sequence[str]) -> None:
        """There are no network devices."""


class Bench(DeviceBench):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, hvm=True)
        self.host.reactor = reactor
        (folder / "disk").write_bytes(bytes(1 << 20))
        (folder / "cd").write_bytes(b"medium" * 1000)
        self.wiring = Wiring(folder)
        self.model = self.fresh()

    def fresh(self) -> DeviceModel:
        """Give the emulators of a daemon that has just started."""
        return DeviceModel(self.host, self.domains, self.wiring)

    def query(self, command: str) -> "Deferred[Any]":
        """Ask QEMU something."""
        return ensureDeferred(self.model._running[DOMID].qmp.call(command))

    def medium(self) -> Any:
        """Give what QEMU says of the CD drive."""

        def look(found: Any) -> Any:
            (drive,) = (d for d in found if d["qdev"].endswith("ide1-1"))
            return drive

        return self.query("query-block").addCallback(look)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    if PROGRAM is None:
        pytest.skip("needs a QEMU for PCs (Debian: qemu-system-x86)")
    # The command line is rewritten where it is handed to the process.
    original = qemu.start

    async def start(host: Any, name: str, arguments: Sequence[str], fds: Any = None) -> Any:
        words = list(arguments)
        at = words.index("-xen-domid")
        del words[at : at + 2]
        words[words.index("-machine") + 1] = "pc,accel=tcg"
        return await original(host, name, words, fds)

    monkeypatch.setattr(qemu, "start", start)
    monkeypatch.setattr(qemu, "PROGRAMS", (PROGRAM,))
    made = Bench(tmp_path)
    yield made
    for running in made.model._running.values():
        running.process.signal(9)


def run(work: Awaitable[T]) -> "Deferred[T]":
    """Run something on the reactor."""
    return ensureDeferred(work)  # type: ignore[arg-type]


MD = make_md(vbds=[], vifs=[], vcpu_max=1)


@pytest_twisted.ensureDeferred
async def test_a_drive_that_is_empty_at_the_start_takes_media_again_and_again(
    bench: Bench,
) -> None:
    await run(bench.model.start(DOMID, MD, restore=False))
    assert "inserted" not in await bench.medium()
    drive = Drive("xvdd", "CDROM", "RO", str(bench.wiring.folder / "cd"))
    for _ in range(3):
        await run(bench.model.load(DOMID, drive))
        found = await bench.medium()
        assert (found["inserted"]["ro"], found["tray_open"]) == (True, False)
        await run(bench.model.unload(DOMID, "xvdd"))
        assert "inserted" not in await bench.medium()
    await run(bench.model.stop(DOMID))
    assert sorted(p.name for p in bench.host.run_folder.iterdir()) == ["cd", "disk"]


@pytest_twisted.ensureDeferred
async def test_a_medium_that_is_not_there_is_refused_and_the_drive_still_works(
    bench: Bench,
) -> None:
    await run(bench.model.start(DOMID, MD, restore=False))
    with pytest.raises(QmpError, match="No such file"):
        await run(bench.model.load(DOMID, Drive("xvdd", "CDROM", "RO", "/no/such/file")))
    await run(
        bench.model.load(DOMID, Drive("xvdd", "CDROM", "RO", str(bench.wiring.folder / "cd")))
    )
    assert "inserted" in await bench.medium()
    await run(bench.model.stop(DOMID))


@pytest_twisted.ensureDeferred
async def test_a_new_daemon_takes_it_over(bench: Bench) -> None:
    await run(bench.model.start(DOMID, MD, restore=False))
    pid = bench.server.value(f"/local/domain/{DOMID}/qemu-pid")
    bench.model.forget(DOMID)
    bench.model = bench.fresh()
    await run(bench.model.recover(DOMID))
    assert (await bench.query("query-name"))["name"] == MD.vm.id
    running: Emulator = bench.model._running[DOMID].process
    assert str(running.pid) == pid
    await run(bench.model.stop(DOMID))


@pytest_twisted.ensureDeferred
async def test_its_death_is_noticed(bench: Bench) -> None:
    await run(bench.model.start(DOMID, MD, restore=False))
    process = bench.model._running[DOMID].process
    process.signal(9)
    await run(process.ended())
    await run(_until(lambda: bench.host.xc.stopped))
    assert bench.host.xc.stopped == [(DOMID, 3)]


async def _until(there: Any) -> None:
    while not there():
        waiter: Deferred[None] = Deferred()
        reactor.callLater(0.01, waiter.callback, None)
        await waiter


@pytest_twisted.ensureDeferred
async def test_one_that_refuses_its_options_says_why(bench: Bench) -> None:
    md = make_md(vbds=[], vifs=[], vcpu_max=1, hvm={"keymap": "no-such-keys"})
    with pytest.raises(Exception, match="no-such-keys"):
        await run(bench.model.start(DOMID, md, restore=False))
    assert not bench.model.has(DOMID)
    assert sorted(p.name for p in bench.host.run_folder.iterdir()) == ["cd", "disk"]
