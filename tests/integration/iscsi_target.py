"""An iSCSI target in user space (tgt), on a port of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PREFIX = "iqn.2026-01.org.example.tgt"
OPEN, CHAP, MUTUAL = (f"{PREFIX}:{name}" for name in ("open", "chap", "mutual"))
USER, PASSWORD = "alice", "secretsecret12"
TARGET_USER, TARGET_PASSWORD = "bobtarget", "othersecret34"
MIB = 1024**2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Tgt:
    """A running tgtd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.control = str(20000 + self.port % 10000)
        self.log = (folder / "tgtd.log").open("wb")
        self.process = subprocess.Popen(
            ["tgtd", "-f", "-C", self.control, "--iscsi", f"portal=127.0.0.1:{self.port}"],
            stdout=self.log,
            stderr=self.log,
        )

    def wait(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        pytest.skip(f"tgtd does not run here: {(self.folder / 'tgtd.log').read_text()[-300:]}")

    def admin(self, mode: str, op: str, *options: str) -> None:
        command = ["tgtadm", "-C", self.control, "--lld", "iscsi", "--mode", mode, "--op", op]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def target(self, number: int, iqn: str, *sizes: int) -> None:
        tid = ("--tid", str(number))
        self.admin("target", "new", *tid, "-T", iqn)
        for lun, size in enumerate(sizes, 1):
            self.lun(number, lun, size)
        self.admin("target", "bind", *tid, "-I", "ALL")

    def lun(self, number: int, lun: int, size: int) -> None:
        tid = ("--tid", str(number), "--lun", str(lun))
        image = self.folder / f"lun-{number}-{lun}"
        with image.open("wb") as file:
            file.truncate(size)
        self.admin("logicalunit", "new", *tid, "-b", str(image))
        names = f"vendor_id=TESTVEND,product_id=DISK,scsi_sn=sn{number:02}{lun:02}"
        self.admin("logicalunit", "update", *tid, "--params", names)

    def drop_lun(self, number: int, lun: int) -> None:
        self.admin("logicalunit", "delete", "--tid", str(number), "--lun", str(lun))

    def accounts(self) -> None:
        for user, password in ((USER, PASSWORD), (TARGET_USER, TARGET_PASSWORD)):
            self.admin("account", "new", "--user", user, "--password", password)
        for number in ("2", "3"):
            self.admin("account", "bind", "--tid", number, "--user", USER)
        self.admin("account", "bind", "--tid", "3", "--user", TARGET_USER, "--outgoing")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def tgt(tmp_path: Path) -> Iterator[Tgt]:
    """Targets OPEN (LUNs 1 of 64 and 2 of 128 MiB), CHAP and MUTUAL with one LUN each."""
    if os.getuid() or shutil.which("tgtd") is None:
        pytest.skip("tgtd (Debian package tgt) and root are needed")
    found = Tgt(tmp_path)
    try:
        found.wait()
        found.target(1, OPEN, 64 * MIB, 128 * MIB)
        found.target(2, CHAP, 64 * MIB)
        found.target(3, MUTUAL, 64 * MIB)
        found.accounts()
        yield found
    finally:
        found.end()
