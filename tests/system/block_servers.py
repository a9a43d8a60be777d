"""Targets and adapters for storage tests inside the lab: tgt, scsi_debug, FCoE.  Needs root."""

import contextlib
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


def admin(mode: str, op: str, *options: str) -> None:
    sh("tgtadm", "--lld", "iscsi", "--mode", mode, "--op", op, *options)


@contextlib.contextmanager
def target(folder: Path, size: int = 1024 * MIB) -> Iterator[None]:
    """A target that answers at all addresses, ``PORTALS`` among them; mutual CHAP, one LUN."""
    image = folder / "lun"
    with image.open("wb") as file:
        file.truncate(size)
    daemon = subprocess.Popen(["tgtd", "-f"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _works("tgtadm", "--lld", "iscsi", "--mode", "target", "--op", "show"))
        admin("target", "new", "--tid", "1", "-T", IQN)
        admin("logicalunit", "new", "--tid", "1", "--lun", "1", "-b", str(image))
        admin("target", "bind", "--tid", "1", "-I", "ALL")
        for user, password in ((USER, PASSWORD), (TARGET_USER, TARGET_PASSWORD)):
            admin("account", "new", "--user", user, "--password", password)
        admin("account", "bind", "--tid", "1", "--user", USER)
        admin("account", "bind", "--tid", "1", "--user", TARGET_USER, "--outgoing")
        yield
    finally:
        sh("iscsiadm", "-m", "session", "-u", check=False)
        daemon.kill()
        daemon.wait()


@contextlib.contextmanager
def path_cut(address: str = "127.0.0.2") -> Iterator[None]:
    """Nothing reaches a portal meanwhile."""
    chain = f"type filter hook output priority 0; ip daddr {address} drop;"
    rules = f"table inet cut {{ chain out {{ {chain} }} }}"
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


CONFIG = Path("/sys/kernel/config/target")


def _wwpn(nic: str) -> str:
    mac = Path(f"/sys/class/net/{nic}/address").read_text().strip()
    return f"20:00:{mac}"


@contextlib.contextmanager
def fcoe(initiator: str = "eth1", server: str = "eth2", megabytes: int = 512) -> Iterator[None]:
    """FCoE between two NICs that are one cable: VN2VN, a disk in memory behind the second."""
    for module in ("target_core_mod", "tcm_fc", "fcoe"):
        sh("modprobe", module)
    for nic in (initiator, server):
        sh("ip", "link", "set", nic, "mtu", "3000", "up")
    if not CONFIG.exists():
        sh("mount", "-t", "configfs", "configfs", "/sys/kernel/config")
    disk = CONFIG / "core" / "rd_mcp_0" / "fcoe0"
    disk.mkdir(parents=True)
    (disk / "control").write_text(f"rd_pages={megabytes * 256}")
    (disk / "enable").write_text("1")
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
