"""nfs, smb and iso SRs on real servers: what is kept, what is refused, what a lost server costs."""

import os
import random
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.integration import daemon_process
from tests.integration.daemon_process import DaemonProcess
from tests.integration.test_smd_files import backends_of
from tests.system.file_servers import PASSWORD, FileServers, missing
from xapi_py.base.nbd.client import NbdClient
from xapi_py.base.rpc.errors import RpcError

pytestmark = pytest.mark.system
MIB = 1 << 20
PATTERN = random.Random(3).randbytes(2 * MIB)
HERE = "127.0.0.1"
FAST = "timeo=50,retrans=2"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServers]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    found = FileServers(tmp_path_factory.mktemp("servers"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def smd(servers: FileServers) -> Iterator[DaemonProcess]:
    folder = Path("/tmp", f"fs-{os.getpid()}")
    folder.mkdir()
    settings = {"profile": "newest", "gc_delay_s": 600.0, "driver_timeout_s": 60.0}
    daemon_process.ANSWER_TIMEOUT_S = 300.0  # labs are slow
    daemon = DaemonProcess(
        "sm", folder, {"sm": {**settings, "real": ["file", "nfs", "smb", "iso"]}}
    )
    yield daemon
    daemon.stop()
    for number in backends_of(folder / "sm-1"):
        os.kill(number, signal.SIGKILL)
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if line.split()[1].startswith(str(folder)):
            subprocess.run(["umount", "-l", line.split()[1]], check=True)


def configuration(servers: FileServers, kind: str, export: str = "vms") -> dict[str, str]:
    match kind:
        case "smb":
            share = {"server": f"\\\\{HERE}\\{export}", "username": "root"}
            return {**share, "password": PASSWORD}
        case _:
            path = {"server": HERE, "serverpath": str(servers.folder / export)}
            return {**path, "nfsversion": kind.removeprefix("nfs"), "options": FAST}


def attached(smd: DaemonProcess, kind: str, config: dict[str, str]) -> str:
    sr, sr_type = str(uuid.uuid4()), kind.rstrip("0123456789.")
    smd.call("SR.create", sr=sr, type=sr_type, device_config=config, name_label=kind)
    smd.call("SR.attach", sr=sr, type=sr_type, device_config=config)
    return sr


def refusal(
    smd: DaemonProcess, sr_type: str, config: dict[str, str], method: str = "SR.create"
) -> Any:
    params: dict[str, object] = {"type": sr_type, "device_config": config}
    if method == "SR.create":
        params["sr"] = str(uuid.uuid4())
    with pytest.raises(RpcError) as problem:
        smd.call(method, **params)
    return problem.value.params


def code(found: Any) -> int:
    return int(str(found[0]).removeprefix("SR_BACKEND_FAILURE_"))


def disk(smd: DaemonProcess, sr: str, size: int = 12 * MIB) -> str:
    return str(smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": size})["uuid"])


def write(smd: DaemonProcess, sr: str, vdi: str, offset: int, data: bytes) -> None:
    access = smd.call("VDI.open_data", sr=sr, vdi=vdi, mode="amend")
    client = NbdClient(access["socket"], access["export"])
    client.write(offset, data)
    client.flush()
    client.close()
    smd.call("VDI.close_data", sr=sr, vdi=vdi, mode="amend", commit=True)


def read(smd: DaemonProcess, sr: str, vdi: str) -> bytes:
    access = smd.call("VDI.open_data", sr=sr, vdi=vdi)
    client = NbdClient(access["socket"], access["export"])
    data = bytes(client.read(0, client.size))
    client.close()
    smd.call("VDI.close_data", sr=sr, vdi=vdi)
    return data


KINDS = ("nfs3", "nfs4.1", "smb")


@pytest.mark.parametrize("kind", KINDS)
def test_disks_live_on_a_server(smd: DaemonProcess, servers: FileServers, kind: str) -> None:
    config = configuration(servers, kind)
    sr = attached(smd, kind, config)
    sr_type = kind.rstrip("0123456789.")
    assert sr in smd.call("SR.probe", type=sr_type, device_config=config)
    vdi = disk(smd, sr)
    write(smd, sr, vdi, 5 * MIB, PATTERN)
    snapshot = smd.call("VDI.snapshot", sr=sr, vdi=vdi, vdi_info={})["uuid"]
    write(smd, sr, vdi, 6 * MIB, PATTERN)
    clone = smd.call("VDI.clone", sr=sr, vdi=snapshot, vdi_info={})["uuid"]
    first = (bytes(5 * MIB) + PATTERN).ljust(12 * MIB, b"\0")
    second = first[: 6 * MIB] + PATTERN + first[8 * MIB :]
    assert read(smd, sr, snapshot) == first and read(smd, sr, clone) == first
    smd.call("VDI.destroy", sr=sr, vdi=clone)
    smd.call("VDI.destroy", sr=sr, vdi=snapshot)
    smd.call("SR.collect_garbage", sr=sr)
    assert read(smd, sr, vdi) == second
    smd.call("SR.detach", sr=sr)
    assert sr not in Path("/proc/mounts").read_text()
    smd.call("SR.attach", sr=sr, type=sr_type, device_config=config)
    assert read(smd, sr, vdi) == second
    with pytest.raises(RpcError, match="SR_NOT_EMPTY"):
        smd.call("SR.destroy", sr=sr)
    smd.call("VDI.destroy", sr=sr, vdi=vdi)
    smd.call("SR.destroy", sr=sr)
    assert not (servers.folder / "vms" / sr).exists()


@pytest.mark.parametrize("kind", ["nfs3", "smb"])
def test_running_disk_is_snapshotted_on_a_server(
    smd: DaemonProcess, servers: FileServers, kind: str
) -> None:
    sr = attached(smd, kind, configuration(servers, kind))
    vdi = disk(smd, sr)
    key = {"sr": sr, "vdi": vdi, "dp": f"vbd/{kind}/xvda"}
    answer = smd.call("VDI.attach2", **key, vm="1", read_write=True)
    smd.call("VDI.activate3", **key)
    uri = dict(answer["implementations"])["Nbd"]["uri"]
    client = NbdClient(uri.partition("socket=")[2], vdi)
    client.write(0, PATTERN)
    client.flush()
    snapshot = smd.call("VDI.snapshot", sr=sr, vdi=vdi, vdi_info={})["uuid"]
    client.write(MIB, PATTERN)
    client.flush()
    client.close()
    smd.call("VDI.deactivate", **key)
    smd.call("VDI.detach", **key)
    assert read(smd, sr, snapshot).rstrip(b"\0") == PATTERN.rstrip(b"\0")
    assert read(smd, sr, vdi)[: 3 * MIB] == PATTERN[:MIB] + PATTERN


def test_nfs_refusals_have_their_numbers(smd: DaemonProcess, servers: FileServers) -> None:
    good = configuration(servers, "nfs3")
    assert code(refusal(smd, "nfs", {"serverpath": "/x"})) == 102
    answer = refusal(smd, "nfs", {"server": HERE}, "SR.probe")
    exports = {e.text for e in ElementTree.fromstring(answer[3]).findall("Export/Path")}
    assert code(answer) == 101 and str(servers.folder / "vms") in exports
    assert code(refusal(smd, "nfs", {**good, "serverpath": "/nowhere"})) == 73
    assert code(refusal(smd, "nfs", {**good, "server": "no-such-host.invalid"})) == 140
    assert code(refusal(smd, "nfs", {**good, "nfsversion": "5"})) == 72
    assert code(refusal(smd, "nfs", configuration(servers, "nfs3", "readonly"))) == 461
    probed = smd.call("SR.probe", type="nfs", device_config={**good, "probeversion": ""})
    versions = {v.text for v in ElementTree.fromstring(probed).findall("SupportedVersions/Version")}
    assert {"3", "4"} <= versions
    servers.stop_nfs()
    try:
        assert code(refusal(smd, "nfs", good)) == 108
    finally:
        servers.start_nfs()
    assert list((servers.folder / "readonly").iterdir()) == []


def test_smb_refusals_have_their_numbers(smd: DaemonProcess, servers: FileServers) -> None:
    good = configuration(servers, "smb")
    wrong = refusal(smd, "smb", {**good, "password": "wrong"})
    assert code(wrong) == 111 and "Permission denied" in wrong[2]
    assert code(refusal(smd, "smb", {**good, "server": f"//{HERE}/nowhere"})) == 111
    assert code(refusal(smd, "smb", configuration(servers, "smb", "readonly"))) == 461
    servers.stop_smb()
    try:
        assert code(refusal(smd, "smb", good)) in (111, 47)
    finally:
        servers.start_smb()


@pytest.mark.parametrize("kind", ["nfs", "smb"])
def test_libraries_on_servers(smd: DaemonProcess, servers: FileServers, kind: str) -> None:
    if kind == "nfs":
        good = {"location": f"{HERE}:{servers.folder / 'iso'}", "type": "nfs_iso"}
        bad = {**good, "location": f"{HERE}:/nowhere"}
    else:
        login = {"type": "cifs", "username": "root", "cifspassword": PASSWORD}
        good = {"location": f"//{HERE}/iso", **login}
        bad = {**good, "location": f"//{HERE}/nowhere"}
        assert code(refusal(smd, "iso", {**good, "cifspassword": "wrong"})) == 222
    assert code(refusal(smd, "iso", bad)) == 222
    assert code(refusal(smd, "iso", {**good, "iso_path": "/missing"})) == 224
    sr = attached(smd, "iso", good)
    names = {v["name_label"]: v["uuid"] for v in smd.call("SR.scan", sr=sr)["vdis"]}
    assert set(names) == {"disc.iso"}
    access = smd.call("VDI.open_data", sr=sr, vdi=names["disc.iso"])
    assert Path(access["path"]).read_bytes().startswith(b"CD001")
    smd.call("SR.detach", sr=sr)
    inner = attached(smd, "iso", {**good, "iso_path": "/inner"})
    assert [v["name_label"] for v in smd.call("SR.scan", sr=inner)["vdis"]] == ["other.ISO"]
    smd.call("SR.detach", sr=inner)


@pytest.mark.parametrize("kind", ["nfs3", "smb"])
def test_lost_server_blocks_nobody_else_and_comes_back(
    smd: DaemonProcess, servers: FileServers, tmp_path: Path, kind: str
) -> None:
    sr, other = attached(smd, kind, configuration(servers, kind)), str(uuid.uuid4())
    (tmp_path / "local").mkdir()
    local = {"location": str(tmp_path / "local")}
    smd.call("SR.create", sr=other, type="file", device_config=local)
    smd.call("SR.attach", sr=other, type="file", device_config=local)
    vdi = disk(smd, sr, 32 * MIB)
    access = smd.call("VDI.open_data", sr=sr, vdi=vdi, mode="replace")
    client = NbdClient(access["socket"], access["export"])
    client.write(0, PATTERN)
    client.flush()
    (servers.stop_nfs if kind == "nfs3" else servers.stop_smb)()
    failed: list[OSError] = []
    writer = threading.Thread(target=keep_writing, args=(client, failed))
    writer.start()
    waiting = smd.connect()
    waiting.settimeout(180)
    smd.send(waiting, "SR.scan", sr=sr)
    begin = time.monotonic()
    for _ in range(5):
        disk(smd, other)
    assert time.monotonic() - begin < 15
    assert b"SR_BACKEND_FAILURE" in waiting.recv(4096)
    waiting.close()
    (servers.start_nfs if kind == "nfs3" else servers.start_smb)()
    writer.join(180)
    assert not writer.is_alive()
    end = time.monotonic() + 180
    while True:
        try:
            found = smd.call("SR.scan", sr=sr)["vdis"]
            break
        except RpcError:
            assert time.monotonic() < end
            time.sleep(1)
    assert vdi in [v["uuid"] for v in found]
    if failed:
        smd.call("VDI.close_data", sr=sr, vdi=vdi, mode="replace", commit=False)
    fresh = disk(smd, sr)
    write(smd, sr, fresh, 0, PATTERN)
    assert read(smd, sr, fresh).startswith(PATTERN)


def keep_writing(client: NbdClient, failed: list[OSError]) -> None:
    """Write on while the server goes, until that fails or is done."""
    try:
        for number in range(20):
            client.write(number * MIB, PATTERN[:MIB])
            client.flush()
            time.sleep(0.1)
    except OSError as problem:
        failed.append(problem)
    client.close()
