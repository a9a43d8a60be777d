"""Disks opened for other processes: real images behind real storage daemons."""

import base64
import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sm.contract import Access, VdiSpec
from sm.files.storage_daemon import StorageDaemon
from tests.unit.sm.files.file_host import MIB, FileHost, code, needs_qemu, wait
from xapi_py.api.image_source import ImageSource
from xapi_py.base.nbd import wire
from xapi_py.base.nbd.client import NbdClient
from xapi_py.base.rpc.errors import RpcError

pytestmark = needs_qemu
DATA = random.Random(7).randbytes(3 * MIB)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FileHost]:
    found = FileHost(tmp_path)
    found.start()
    yield found
    found.close()


def connect(access: Access, *contexts: str) -> NbdClient:
    return NbdClient(access.socket, access.export, contexts or (wire.ALLOCATION,))


def opened(host: FileHost, vdi: str, mode: str = "read", base: str = "") -> Access:
    return wait(host.sr.vdi_open(vdi, mode, base))


def closed(host: FileHost, vdi: str, mode: str, *, commit: bool = True) -> None:
    wait(host.sr.vdi_close(vdi, mode, commit, []))


def test_replaced_content_is_the_disks_only_after_the_commit(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    host.write(vdi, 0, MIB, 1)
    access = opened(host, vdi, "replace")
    assert access.blank
    client = connect(access)
    client.write(5 * MIB, DATA)
    client.flush()
    client.close()
    closed(host, vdi, "replace", commit=False)
    assert host.content(vdi) == b"\1" * MIB + bytes(7 * MIB)
    client = connect(opened(host, vdi, "replace"))
    client.write(5 * MIB, DATA)
    client.flush()
    client.close()
    closed(host, vdi, "replace")
    assert host.content(vdi) == bytes(5 * MIB) + DATA
    host.check()


def test_images_are_lent_to_who_reads_them(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    host.write(vdi, 0, MIB, 1)
    wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    host.write(vdi, MIB, MIB, 2)
    access = wait(host.sr.vdi_open(vdi, "read", "", images=True))
    assert not access.socket and len(access.images) == 2
    source = ImageSource(access.images)
    assert source.read_many([(MIB - 1, 2)]) == [b"\1\2"]
    assert list(source.changed(0, 8 * MIB, 1)) == [(MIB, MIB)]
    assert code(host.sr.vdi_activate(vdi, True)) == "VDI_IN_USE"
    assert wait(host.sr.vdi_holders(vdi)) == [
        {"kind": "reader", "who": "host", "why": "being read"}
    ]
    host.attach()
    assert code(host.sr.vdi_activate(vdi, True)) == "VDI_IN_USE"
    source.close()
    closed(host, vdi, "read")
    wait(host.sr.vdi_activate(vdi, True))
    assert wait(host.sr.vdi_open(vdi, "read", "", images=True)).socket
    wait(host.sr.vdi_deactivate(vdi))
    host.check()


def test_a_lent_disk_that_nobody_reads_is_free(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    assert wait(host.sr.vdi_open(vdi, "read", "", images=True)).images
    wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    assert wait(host.sr.vdi_open(vdi, "read", "", images=True)).images
    wait(host.sr.vdi_destroy(vdi))
    wait(host.sr.collect_garbage())
    host.check()


def test_amended_content_keeps_the_rest(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    host.write(vdi, 0, MIB, 1)
    client = connect(opened(host, vdi, "amend"))
    client.write(MIB // 2, DATA)
    client.write_zeroes(0, 4096)
    client.flush()
    client.close()
    closed(host, vdi, "amend")
    expected = bytes(4096) + b"\1" * (MIB // 2 - 4096) + DATA
    assert host.content(vdi) == expected.ljust(8 * MIB, b"\0")
    wait(host.sr.collect_garbage())
    assert host.content(vdi) == expected.ljust(8 * MIB, b"\0")
    host.check()
    assert len(host.vdis()) == 1


def test_reading_with_states_and_depths(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    host.write(vdi, 0, MIB, 1)
    snapshot = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    host.write(vdi, 6 * MIB, MIB, 2)
    access = opened(host, vdi, "read", snapshot)
    assert access.depth == 1
    assert opened(host, snapshot, "read", vdi).depth == 1
    assert opened(host, snapshot, "read", "").depth == -1
    client = connect(access, wire.ALLOCATION, wire.DEPTH)
    assert client.size == 8 * MIB
    data = [e for e in client.extents(0, client.size) if not e[2] & wire.ZERO]
    assert data == [(0, MIB, 0), (6 * MIB, MIB, 0)]
    depths = list(client.extents(0, client.size, wire.DEPTH))
    assert depths == [(0, MIB, 2), (MIB, 5 * MIB, 0), (6 * MIB, MIB, 1), (7 * MIB, MIB, 0)]
    pieces = client.read_many([(k * MIB, MIB) for k in range(8)])
    assert b"".join(pieces) == b"\1" * MIB + bytes(5 * MIB) + b"\2" * MIB + bytes(MIB)
    with pytest.raises(RpcError, match="VDI_IN_USE"):
        wait(host.sr.vdi_resize(vdi, 16 * MIB))
    client.close()
    closed(host, vdi, "read")
    closed(host, snapshot, "read")
    assert wait(host.sr.vdi_resize(vdi, 16 * MIB)).virtual_size == 16 * MIB


def test_disk_in_use_can_be_read_but_not_written(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    wait(host.sr.vdi_activate(vdi, True))
    host.write_live(vdi, 0, MIB, 3)
    client = connect(opened(host, vdi))
    assert client.read(0, MIB) == b"\3" * MIB
    client.write(0, b"x" * 512)
    with pytest.raises(OSError, match="Invalid argument"):
        client.confirm()
    client.close()
    closed(host, vdi, "read")
    with pytest.raises(RpcError, match="VDI_IN_USE"):
        opened(host, vdi, "replace")
    host.write_live(vdi, MIB, MIB, 4)
    wait(host.sr.vdi_deactivate(vdi))
    assert host.content(vdi)[: 2 * MIB] == b"\3" * MIB + b"\4" * MIB


def test_raw_and_tracked_disks_are_written_in_place(host: FileHost) -> None:
    raw = host.make(8 * MIB, sm_config={"type": "raw"}).uuid
    access = opened(host, raw, "replace")
    assert access.path and not access.blank
    with open(access.path, "r+b") as file:
        file.write(DATA)
    closed(host, raw, "replace")
    assert host.content(raw)[: len(DATA)] == DATA
    tracked = host.make(8 * MIB).uuid
    wait(host.sr.vdi_enable_cbt(tracked))
    before = wait(host.sr.vdi_snapshot(tracked, VdiSpec())).uuid
    access = opened(host, tracked, "amend")
    client = connect(access)
    client.write(2 * MIB, DATA)
    client.flush()
    client.close()
    closed(host, tracked, "amend")
    changed = wait(host.sr.vdi_list_changed_blocks(before, tracked))
    bits = base64.b64decode(changed)
    assert bits == bytes(4) + b"\xff" * 6 + bytes(6)


def test_nobody_else_gets_a_disk_that_is_written(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    opened(host, vdi, "replace")
    for call in (
        host.sr.vdi_open(vdi, "replace", ""),
        host.sr.vdi_open(vdi, "read", ""),
        host.sr.vdi_activate(vdi, True),
        host.sr.vdi_destroy(vdi),
        host.sr.vdi_snapshot(vdi, VdiSpec()),
    ):
        with pytest.raises(RpcError, match="VDI_IN_USE"):
            wait(call)
    wait(host.sr.collect_garbage())
    closed(host, vdi, "replace")
    host.check()


def test_disk_in_use_grows_under_its_user(host: FileHost, tmp_path: Path) -> None:
    vdi = host.make(8 * MIB).uuid
    wait(host.sr.vdi_activate(vdi, True))
    host.write_live(vdi, 0, MIB, 3)
    socket = wait(host.sr.vdi_attach(vdi, True)).params.split(":")[2]
    guest = StorageDaemon(tmp_path / "g", "guest")
    guest.folder.mkdir()
    node = {
        **{"driver": "nbd", "node-name": "disk", "export": vdi, "reconnect-delay": 30},
        **{"server": {"type": "unix", "path": socket}},
    }
    command = ["qemu-storage-daemon", "--daemonize", "--pidfile", "pid"]
    command += ["--object", "secret,id=folder,data=" + str(guest.folder)]
    command += ["--chardev", "socket,id=control,path=qmp,server=on,wait=off"]
    command += ["--monitor", "chardev=control", "--blockdev", json.dumps(node)]
    command += ["--nbd-server", "addr.type=unix,addr.path=nbd"]
    command += ["--export", "type=nbd,id=guest,node-name=disk,name=guest"]
    subprocess.run(command, check=True, cwd=guest.folder)
    try:
        grown = wait(host.sr.vdi_resize(vdi, 16 * MIB))
        assert grown.virtual_size == 16 * MIB
        client = NbdClient(str(guest.nbd_path), "guest")
        assert (
            client.read(0, MIB) == b"\3" * MIB
        )  # QEMU connects again when there is something to do
        client.close()
        guest.command("block-export-del", {"id": "guest", "mode": "hard"})
        eventually_sized(guest, 16 * MIB)
    finally:
        guest.stop()
    host.write_live(vdi, 15 * MIB, MIB, 4)
    wait(host.sr.vdi_deactivate(vdi))
    assert host.content(vdi) == b"\3" * MIB + bytes(14 * MIB) + b"\4" * MIB


def eventually_sized(guest: StorageDaemon, size: int) -> None:
    """The guest's QEMU sees the new size once it was told, and still reaches the disk."""
    end = time.monotonic() + 20
    while True:
        try:
            guest.command("block_resize", {"node-name": "disk", "size": size})
        except RpcError:
            assert time.monotonic() < end
            time.sleep(0.05)
            continue
        (found,) = guest.command("query-named-block-nodes", {"flat": True})
        assert found["image"]["virtual-size"] == size
        return


def test_holders_say_who_has_a_disk(host: FileHost) -> None:
    vdi = host.make(8 * MIB).uuid
    assert wait(host.sr.vdi_holders(vdi)) == []
    opened(host, vdi, "replace")
    (entry,) = wait(host.sr.vdi_holders(vdi))
    assert entry["why"] == "data is being written to it"
    closed(host, vdi, "replace")
    client = connect(opened(host, vdi))
    (entry,) = wait(host.sr.vdi_holders(vdi))
    assert (entry["kind"], entry["why"]) == ("reader", "being read")
    client.close()
    closed(host, vdi, "read")
    wait(host.sr.vdi_activate(vdi, True))
    (entry,) = wait(host.sr.vdi_holders(vdi))
    assert entry == {"kind": "host", "who": "host", "why": "active for reading and writing"}
    wait(host.sr.vdi_deactivate(vdi))
