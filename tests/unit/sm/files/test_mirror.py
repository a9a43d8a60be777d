"""A disk in use that goes to another SR: real images, real backends, and what crashes leave."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sm.contract import VdiSpec
from sm.drivers.file_based import FileBasedSr
from tests.unit.sm.files.file_host import MIB, FileHost, code, needs_qemu, wait
from xapi_py.base.names import new_uuid

pytestmark = needs_qemu


class Pair:
    """A host with two SRs, and a disk that is active on the first."""

    def __init__(self, folder: Path) -> None:
        self.host = FileHost(folder)
        self.source = self.host.start()
        self.source_uuid = self.host.sr_uuid
        self.vdi = self.host.make(8 * MIB).uuid
        self.host.write(self.vdi, 0, MIB, 1)
        wait(self.source.vdi_activate(self.vdi, True))
        self.host.sr_uuid = self.target_uuid = new_uuid()
        self.target = self.host.start()
        self.moved = new_uuid()

    def use(self, uuid: str) -> FileBasedSr:
        """Attach an SR anew, as after a crash."""
        self.host.sr_uuid = uuid
        return self.host.attach(sr=uuid)

    def mirror(self) -> Mapping[str, str]:
        image = wait(self.target.mirror_receive(VdiSpec(self.moved, virtual_size=8 * MIB)))
        wait(self.source.mirror_begin(self.vdi, image))
        while wait(self.source.mirror_state(self.vdi))[0] != "ready":
            pass
        return image

    def write(self, offset: int, pattern: int) -> None:
        self.host.sr = self.source
        self.host.write_live(self.vdi, offset, MIB, pattern)

    def close(self) -> None:
        for sr, uuid in ((self.source, self.source_uuid), (self.target, self.target_uuid)):
            self.host.sr, self.host.sr_uuid = sr, uuid
            self.host.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    found = Pair(tmp_path)
    yield found
    found.close()


def test_the_backend_goes_over_with_the_disk(pair: Pair) -> None:
    pair.mirror()
    pair.write(2 * MIB, 2)
    before = wait(pair.source.vdi_attach(pair.vdi, True)).params
    backend = wait(pair.source.mirror_switch(pair.vdi))
    wait(pair.target.mirror_adopt(pair.moved, backend, True))
    wait(pair.source.mirror_release(pair.vdi))
    assert wait(pair.target.vdi_attach(pair.moved, True)).params == before
    pair.host.sr = pair.target
    folder, export = before.split(":")[2], before.rpartition("=")[2]
    assert export == pair.vdi and Path(folder).exists()
    assert code(pair.source.vdi_activate(pair.vdi, True)) == "VDI_IN_USE"
    wait(pair.source.vdi_destroy(pair.vdi))
    pair.target = pair.use(pair.target_uuid)
    snapshot = wait(pair.target.vdi_snapshot(pair.moved, VdiSpec())).uuid
    grown = wait(pair.target.vdi_resize(pair.moved, 16 * MIB))
    assert grown.virtual_size == 16 * MIB
    wait(pair.target.vdi_deactivate(pair.moved))
    assert not Path(folder).exists()
    for vdi in (pair.moved, snapshot):
        assert pair.host.content(vdi).startswith(b"\1" * MIB + bytes(MIB) + b"\2" * MIB)
    wait(pair.target.vdi_activate(pair.moved, True))
    assert wait(pair.target.vdi_attach(pair.moved, True)).params.endswith(pair.moved)
    pair.host.check()


def test_a_mirror_that_is_given_up_leaves_nothing(pair: Pair) -> None:
    pair.mirror()
    assert code(pair.source.vdi_snapshot(pair.vdi, VdiSpec())) == "VDI_IN_USE"
    wait(pair.source.mirror_cancel(pair.vdi))
    wait(pair.target.mirror_give_up(pair.moved))
    assert wait(pair.target.scan()) == []
    assert not list((pair.host.sr_folder / "nodes").iterdir())
    pair.write(3 * MIB, 3)
    wait(pair.source.vdi_deactivate(pair.vdi))
    pair.host.sr_uuid = pair.source_uuid
    assert pair.host.content(pair.vdi)[3 * MIB : 4 * MIB] == b"\3" * MIB
    wait(pair.source.mirror_cancel(pair.vdi))
    assert code(pair.source.mirror_begin(pair.vdi, {})) == "SR_BACKEND_FAILURE_46"


def test_a_disk_that_is_let_go_ends_its_mirror(pair: Pair) -> None:
    pair.mirror()
    pair.write(4 * MIB, 4)
    wait(pair.source.vdi_deactivate(pair.vdi))
    assert code(pair.source.mirror_state(pair.vdi)) == "SR_BACKEND_FAILURE_46"
    wait(pair.source.mirror_cancel(pair.vdi))
    wait(pair.target.mirror_give_up(pair.moved))
    assert wait(pair.target.scan()) == []
    pair.host.sr_uuid = pair.source_uuid
    assert pair.host.content(pair.vdi)[4 * MIB : 5 * MIB] == b"\4" * MIB
    wait(pair.source.vdi_snapshot(pair.vdi, VdiSpec()))


@pytest.mark.parametrize("when", ["while it is mirrored", "once it has switched"])
def test_who_comes_after_a_crash_finds_out(pair: Pair, when: str) -> None:
    image = pair.mirror()
    switched = when.startswith("once")
    if switched:
        wait(pair.source.mirror_switch(pair.vdi))
    pair.target = pair.use(pair.target_uuid)
    pair.source = pair.use(pair.source_uuid)
    assert wait(pair.target.mirror_image(pair.moved)) == image["path"]
    backend = wait(pair.source.mirror_switched(pair.vdi, image["path"]))
    if not switched:
        assert backend is None
        wait(pair.source.mirror_cancel(pair.vdi))
        wait(pair.target.mirror_give_up(pair.moved))
        pair.write(2 * MIB, 2)
        wait(pair.source.vdi_snapshot(pair.vdi, VdiSpec()))
        return
    assert backend is not None
    wait(pair.target.mirror_adopt(pair.moved, backend, True))
    wait(pair.source.mirror_release(pair.vdi))
    wait(pair.target.vdi_deactivate(pair.moved))
    pair.host.sr_uuid = pair.target_uuid
    assert pair.host.content(pair.moved) == b"\1" * MIB + bytes(7 * MIB)


def test_a_partial_disk_that_nobody_fills_is_deleted_at_the_next_attach(pair: Pair) -> None:
    wait(pair.target.mirror_receive(VdiSpec(pair.moved, virtual_size=8 * MIB)))
    assert [v.uuid for v in wait(pair.target.scan())] == [pair.moved]
    pair.target = pair.use(pair.target_uuid)
    assert wait(pair.target.scan()) == []
    pair.host.check()
