"""Targets and adapters of the kernel for storage tests inside the lab: LIO, scsi_debug, FCoE."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

IQN = "iqn.2026-01.org.example.lab:store"
ME = "iqn.2026-01.org.example.lab:host"
USER, PASSWORD = "alice", "secretsecret12"
TARGET_USER, TARGET_PASSWORD = "bobtarget", "othersecret34"
PORTALS = "127.0.0.1,127.0.0.2"
MIB = 1024**2


def sh(*command: str, check: bool = True) -> str:
    """Run a command and give its output."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is the case."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


CONFIG = Path("/sys/kernel/config/target")


def put(path: Path, value: object) -> None:
    """Set an attribute of the kernel's target."""
    path.write_text(str(value))


def configfs() -> None:
    if not CONFIG.parent.joinpath("target").exists() and not os.path.ismount(CONFIG.parent):
        sh("mount", "-t", "configfs", "configfs", str(CONFIG.parent))


class Lun:
    """A disk of the kernel's target, in memory."""

    def __init__(self, name: str, megabytes: int) -> None:
        sh("modprobe", "target_core_mod")
        configfs()
        self.folder = CONFIG / "core" / "rd_mcp_0" / name
        self.folder.mkdir(parents=True)
        put(self.folder / "control", f"rd_pages={megabytes * 256}")
        put(self.folder / "enable", 1)
        put(self.folder / "wwn" / "vpd_unit_serial", "5ca1ab1e00112233")


@contextlib.contextmanager
def target(megabytes: int = 256) -> Iterator[None]:
    """LIO at both ``PORTALS`` with one LUN and mutual CHAP; discovery is open."""
    disk = Lun("store0", megabytes).folder
    sh("modprobe", "iscsi_target_mod")
    group = CONFIG / "iscsi" / IQN / "tpgt_1"
    lun = group / "lun" / "lun_0"
    lun.mkdir(parents=True)
    (lun / "disk").symlink_to(disk)
    access = group / "acls" / ME
    (access / "lun_0").mkdir(parents=True)
    (access / "lun_0" / "lun").symlink_to(lun)
    for name, value in (
        ("userid", USER),
        ("password", PASSWORD),
        ("userid_mutual", TARGET_USER),
        ("password_mutual", TARGET_PASSWORD),
    ):
        put(access / "auth" / name, value)
    put(group / "attrib" / "authentication", 1)
    portals = [group / "np" / f"{address}:3260" for address in PORTALS.split(",")]
    for portal in portals:
        portal.mkdir(parents=True)
    put(group / "enable", 1)
    try:
        yield
    finally:
        sh("iscsiadm", "-m", "session", "-u", check=False)
        put(group / "enable", 0)
        (access / "lun_0" / "lun").unlink()
        (lun / "disk").unlink()
        for folder in (access / "lun_0", access, lun, *portals, group, group.parent, disk):
            folder.rmdir()


@contextlib.contextmanager
def path_cut(address: str = "127.0.0.2") -> Iterator[None]:
    """Nothing reaches a portal meanwhile."""
    chain = f"type filter hook output priority 0; ip daddr {address} drop;"
    rules = f"table inet cut {{ chain out {{ {chain} }}; }}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        sh("nft", "delete", "table", "inet", "cut")


@contextlib.contextmanager
def adapter(megabytes: int = 512) -> Iterator[None]:
    """An adapter with one disk in memory (scsi_debug)."""
    sh("modprobe", "scsi_debug", f"dev_size_mb={megabytes}", "num_tgts=1", "max_luns=1")
    try:
        yield
    finally:
        until(lambda: _works("rmmod", "scsi_debug"))


def _wwpn(nic: str) -> str:
    mac = Path(f"/sys/class/net/{nic}/address").read_text().strip()
    return f"20:00:{mac}"


@contextlib.contextmanager
def fcoe(initiator: str = "eth1", server: str = "eth2", megabytes: int = 256) -> Iterator[None]:
    """FCoE between two NICs that are one cable: VN2VN, a disk in memory behind the second."""
    disk = Lun("fcoe0", megabytes).folder
    for module in ("tcm_fc", "fcoe"):
        sh("modprobe", module)
    for nic in (initiator, server):
        sh("ip", "link", "set", nic, "mtu", "3000", "up")
    group = CONFIG / "fc" / _wwpn(server) / "tpgt_1"
    lun = group / "lun" / "lun_0"
    lun.mkdir(parents=True)
    (lun / "disk").symlink_to(disk)
    access = group / "acls" / _wwpn(initiator) / "lun_0"
    access.mkdir(parents=True)
    (access / "lun").symlink_to(lun)
    control = Path("/sys/module/libfcoe/parameters")
    try:
        for nic in (server, initiator):
            (control / "create_vn2vn").write_text(nic)
        yield
    finally:
        for nic in (initiator, server):
            with contextlib.suppress(OSError):
                (control / "destroy").write_text(nic)
        with contextlib.suppress(OSError):
            (access / "lun").unlink()
            (lun / "disk").unlink()
            for folder in (access, access.parent, lun, group, group.parent, disk):
                folder.rmdir()
