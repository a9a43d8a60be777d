"""An ext SR on a real block device: formatting, mounting, and refusing disks in use."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sm.files.file_host import MIB, FileHost, code, wait
from xapi_py.base.names import new_uuid

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.getuid() != 0, reason="loop devices need root"),
    pytest.mark.skipif(
        not all(shutil.which(c) for c in ("losetup", "mkfs.ext4", "qemu-img")),
        reason="losetup, mkfs.ext4 and qemu-img are needed",
    ),
]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(256 * MIB)
    made = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no loop device can be had: {made.stderr.strip()}")
    name = made.stdout.strip()
    yield name
    subprocess.run(["losetup", "--detach", name], check=True)


def test_block_device_becomes_an_sr(tmp_path: Path, device: str) -> None:
    host, config = FileHost(tmp_path, "ext"), {"device": device}
    point = tmp_path / "run-host" / "mounts" / host.sr_uuid
    host.start(config)
    try:
        vdi = host.make()
        assert wait(host.sr.stat()).physical_size < 256 * MIB
        assert code(host.driver.create(new_uuid(), config, {}, "", "", 0)) == "SR_DEVICE_IN_USE"
        wait(host.sr.detach())
        assert not point.exists()
        assert host.sr_uuid in wait(host.driver.probe(config, {}))
        host.attach(config)
        assert set(host.vdis()) == {vdi.uuid}
        wait(host.sr.vdi_destroy(vdi.uuid))
        wait(host.sr.destroy())
        wait(host.sr.detach())
    finally:
        subprocess.run(["umount", "-l", str(point)], capture_output=True)
