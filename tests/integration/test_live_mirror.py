"""Disks of running VMs that move between SRs, under a writer that stands for the guest."""

import contextlib
import os
import random
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import XenAPI

from tests.integration.disk_client import MIB, DiskClient, needs_qemu, pool_with_files
from tests.integration.running_pool import RunningPool, eventually
from tests.integration.test_vm_files import vm_record
from xapi_py.base.nbd.client import NbdClient

pytestmark = [pytest.mark.integration, needs_qemu]
SIZE = 192 * MIB
PAGE = 64 * 1024


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with pool_with_files() as found:
        yield found


@pytest.fixture
def client(pool: RunningPool, tmp_path: Path) -> Iterator[DiskClient]:
    with pool.host().session() as session:
        yield DiskClient(pool, session, tmp_path)


class Guest:
    """Writes to its disk without end, and knows what the disk must hold."""

    def __init__(self, path: str, export: str) -> None:
        self._nbd = NbdClient(path, export)
        self._over = threading.Event()
        self.expected: dict[int, bytes] = {}
        self.longest_s = 0.0
        self.writes = 0
        self.failure: OSError | None = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        chance, number = random.Random(3), 0
        try:
            while not self._over.is_set():
                number += 1
                page = chance.randrange(SIZE // PAGE)
                data = struct.pack(">Q", number) * (PAGE // 8)
                begin = time.monotonic()
                self._nbd.write(page * PAGE, data)
                self._nbd.confirm()
                self.expected[page] = data
                if number % 64 == 0:
                    self._nbd.flush()
                self.longest_s = max(self.longest_s, time.monotonic() - begin)
                self.writes = number
        except OSError as problem:
            self.failure = problem

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._nbd.close()
        assert self.failure is None, self.failure


class Bench:
    """A running VM with one disk on a file SR, and where that disk can be reached."""

    def __init__(self, client: DiskClient) -> None:
        self.client, self.api = client, client.api
        self.sr = client.file_sr(f"from-{client.folder.name}")
        self.other = client.file_sr(f"to-{client.folder.name}")
        self.image = client.folder / "image"
        with self.image.open("wb") as file:
            file.write(os.urandom(48 * MIB))
            file.truncate(SIZE)
        self.vdi = client.new_disk(self.sr, self.image)
        self.vm = self.api.VM.create(vm_record(name_label="mirrored"))
        record = {
            **{"VM": self.vm, "VDI": self.vdi, "userdevice": "0", "bootable": True},
            **{"mode": "RW", "type": "Disk", "empty": False, "other_config": {}},
            **{"qos_algorithm_type": "", "qos_algorithm_params": {}, "unpluggable": True},
        }
        self.vbd = self.api.VBD.create(record)
        self.api.VM.start(self.vm, False, False)

    def address(self, vdi: str) -> tuple[str, str]:
        """Socket and export of an active disk: its only backend has it open."""
        node = next(iter(self.sockets()))
        return str(node), self.api.VDI.get_uuid(vdi)

    def sockets(self) -> list[Path]:
        return sorted(self.client.pool.state.glob("**/run/d/*/nbd"))

    def holds(self, vdi: str, guest: Guest) -> bool:
        """Whether a disk that is not in use holds all that was written."""
        with self.image.open("r+b") as file:
            for page, data in guest.expected.items():
                file.seek(page * PAGE)
                file.write(data)
        return self.client.holds(vdi, self.image)

    def stop(self) -> None:
        self.api.VM.hard_shutdown(self.vm)


@pytest.fixture
def bench(client: DiskClient) -> Iterator[Bench]:
    found = Bench(client)
    yield found
    with contextlib.suppress(Exception):
        found.stop()


def test_a_guest_goes_on_writing_while_its_disk_moves(bench: Bench) -> None:
    api = bench.api
    api.VDI.set_name_label(bench.vdi, "precious")
    snapshot = api.VDI.snapshot(bench.vdi, {})
    guest = Guest(*bench.address(bench.vdi))
    eventually(lambda: guest.writes > 50, "the guest writes")
    task = api.Async.VDI.pool_migrate(bench.vdi, bench.other, {})
    bench.client.wait(task)
    moved = bench.client.ok(task).removeprefix("<value>").removesuffix("</value>")
    before = guest.writes
    eventually(lambda: guest.writes > before + 50, "the guest goes on")
    assert api.VBD.get_VDI(bench.vbd) == moved and api.VBD.get_currently_attached(bench.vbd)
    assert api.VDI.get_SR(moved) == bench.other and bench.vdi not in api.VDI.get_all()
    assert api.VDI.get_name_label(moved) == "precious"
    assert api.VDI.get_snapshot_of(snapshot) == moved
    assert api.VM.get_power_state(bench.vm) == "Running"
    again = api.VDI.snapshot(moved, {})
    second = api.VDI.pool_migrate(moved, bench.sr, {})
    guest.end()
    bench.stop()
    assert bench.holds(second, guest)
    assert bench.sockets() == []
    for vdi in (second, snapshot, again):
        api.VDI.destroy(vdi)
    for sr in (bench.sr, bench.other):
        api.SR.scan(sr)
        assert api.SR.get_VDIs(sr) == []
    print(f"{guest.writes} writes, the longest took {guest.longest_s:.3f} s")


def test_storage_motion_of_a_running_vm_mirrors_its_disk(bench: Bench) -> None:
    api = bench.api
    guest = Guest(*bench.address(bench.vdi))
    eventually(lambda: guest.writes > 20, "the guest writes")
    offered = api.VM.get_allowed_operations
    eventually(lambda: "migrate_send" in offered(bench.vm), "the guest can be moved")
    domid = api.VM.get_domid(bench.vm)
    there = {"host": api.VM.get_resident_on(bench.vm)}
    api.VM.migrate_send(bench.vm, there, True, {bench.vdi: bench.other}, {}, {})
    before = guest.writes
    eventually(lambda: guest.writes > before + 20, "the guest goes on")
    guest.end()
    moved = api.VBD.get_VDI(bench.vbd)
    assert api.VDI.get_SR(moved) == bench.other and bench.vdi not in api.VDI.get_all()
    assert api.VM.get_domid(bench.vm) == domid
    bench.stop()
    assert bench.holds(moved, guest)


def test_a_cancelled_move_leaves_everything_as_it_was(bench: Bench) -> None:
    api = bench.api
    guest = Guest(*bench.address(bench.vdi))
    task = api.Async.VDI.pool_migrate(bench.vdi, bench.other, {})
    eventually(lambda: list(bench.client.folder.glob("to-*/*/nodes/*")), "the mirror begins")
    api.task.cancel(task)
    bench.client.wait(task)
    if api.task.get_status(task) == "cancelled":
        assert api.VBD.get_VDI(bench.vbd) == bench.vdi
        assert list(bench.client.folder.glob("to-*/*/nodes/*")) == []
        assert api.SR.get_VDIs(bench.other) == []
    before = guest.writes
    eventually(lambda: guest.writes > before + 20, "the guest goes on")
    guest.end()
    bench.stop()
    assert bench.holds(api.VBD.get_VDI(bench.vbd), guest)


def at_rest(api: Any, vdi: str) -> bool:
    """Whether nothing is done to a disk; the one that was left behind goes away."""
    try:
        return not api.VDI.get_current_operations(vdi)
    except XenAPI.Failure as failure:
        assert failure.details[0] == "HANDLE_INVALID"
        return True


@pytest.mark.parametrize("moment", ["mirror", "switch"])
def test_a_killed_storage_daemon_loses_nothing(bench: Bench, moment: str) -> None:
    api, pool = bench.api, bench.client.pool
    guest = Guest(*bench.address(bench.vdi))
    task = api.Async.VDI.pool_migrate(bench.vdi, bench.other, {})
    eventually(lambda: list(bench.client.folder.glob("to-*/*/nodes/*")), "the mirror begins")
    if moment == "switch":
        eventually(lambda: api.task.get_progress(task) > 0.4, "the mirror goes on")
    pool.kill("smd")
    bench.client.wait(task)
    before = guest.writes
    eventually(lambda: guest.writes > before + 20, "the guest goes on")
    guest.end()
    eventually(lambda: api.VM.get_power_state(bench.vm) == "Running", "the VM runs")
    for vdi in (bench.vdi, api.VBD.get_VDI(bench.vbd)):
        eventually(lambda vdi=vdi: at_rest(api, vdi), "the move has ended")
    bench.stop()
    kept = api.VBD.get_VDI(bench.vbd)
    assert bench.holds(kept, guest)
    api.VDI.destroy(kept)
    for sr in (bench.sr, bench.other):
        api.SR.scan(sr)
        assert [v for v in api.SR.get_VDIs(sr) if v != bench.vdi or kept == v] == []
