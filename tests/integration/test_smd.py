"""The storage daemon as a process: durability, restarts, several hosts, cost of a call."""

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import ConnectionGone, DaemonProcess
from xapi_py.base.rpc.errors import RpcError

pytestmark = pytest.mark.integration

NFS = {"server": "192.0.2.20", "serverpath": "/export/vms"}
GIB = 1024**3


def config(folder: Path) -> dict[str, object]:
    return {
        "sm": {"profile": "newest", "gc_delay_s": 60.0},
        "array": {"folder": str(folder / "array")},
    }


@pytest.fixture
def smd(tmp_path: Path) -> Iterator[DaemonProcess]:
    daemon = DaemonProcess("sm", tmp_path, config(tmp_path))
    yield daemon
    if daemon.process.poll() is None:
        daemon.stop()


def make_sr(smd: DaemonProcess) -> str:
    sr = str(uuid.uuid4())
    smd.call("SR.create", sr=sr, type="nfs", device_config=NFS)
    smd.call("SR.attach", sr=sr, type="nfs", device_config=NFS)
    return sr


def disks(smd: DaemonProcess, sr: str) -> dict[str, dict[str, Any]]:
    return {v["uuid"]: v for v in smd.call("SR.scan", sr=sr)["vdis"]}


def check_consistent(smd: DaemonProcess, sr: str) -> dict[str, dict[str, Any]]:
    """Each parent exists and is hidden, sums are those of the disks."""
    found = disks(smd, sr)
    for vdi in found.values():
        assert not vdi["parent"] or not found[vdi["parent"]]["managed"]
    stat = smd.call("SR.stat", sr=sr)
    assert stat["physical_utilisation"] == sum(v["physical_utilisation"] for v in found.values())
    managed = [v for v in found.values() if v["managed"]]
    assert stat["virtual_allocation"] == sum(v["virtual_size"] for v in managed)
    return found


@pytest.mark.parametrize("kind", ["crash_before_commit", "crash_after_commit"])
@pytest.mark.parametrize("method", ["VDI.snapshot", "VDI.clone", "VDI.resize", "VDI.destroy"])
def test_killed_operation_leaves_before_or_after(
    smd: DaemonProcess, kind: str, method: str
) -> None:
    sr = make_sr(smd)
    vdi = smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": GIB})["uuid"]
    before = disks(smd, sr)
    smd.answer("DEBUG.inject_fault", method=method, kind=kind)
    extra: dict[str, object] = {"VDI.resize": {"new_size": 2 * GIB}, "VDI.destroy": {}}.get(
        method, {"vdi_info": {"uuid": str(uuid.uuid4())}}
    )
    with pytest.raises(ConnectionGone):
        smd.call(method, sr=sr, vdi=vdi, **extra)
    smd.wait()
    smd.start()
    after = check_consistent(smd, sr)
    if kind == "crash_before_commit":
        assert after == before
    else:
        expected = {"VDI.snapshot": 3, "VDI.clone": 3, "VDI.resize": 1, "VDI.destroy": 0}
        assert len(after) == expected[method]
        assert method != "VDI.resize" or after[vdi]["virtual_size"] == 2 * GIB


def test_answered_operations_survive_kills_under_load(smd: DaemonProcess) -> None:
    sr = make_sr(smd)
    root = smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": GIB})["uuid"]
    answered: set[str] = {root}
    for round_number in range(3):
        killer = threading.Timer(0.15 + 0.1 * round_number, smd.process.kill)
        killer.start()
        try:
            for _ in range(10000):
                vdi = str(uuid.uuid4())
                smd.call("VDI.clone", sr=sr, vdi=root, vdi_info={"uuid": vdi})
                answered.add(vdi)
        except ConnectionGone:
            pass
        killer.join()
        smd.wait()
        smd.start()
        found = check_consistent(smd, sr)
        managed = {uuid_ for uuid_, vdi in found.items() if vdi["managed"]}
        assert answered <= managed
        assert len(managed - answered) <= round_number + 1
        answered = managed


def test_datapaths_survive_a_kill(smd: DaemonProcess) -> None:
    sr = make_sr(smd)
    vdi = smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": GIB})["uuid"]
    key = {"sr": sr, "vdi": vdi, "dp": "vbd/1/xvda"}
    smd.call("VDI.attach2", **key, vm="1", read_write=True)
    smd.call("VDI.activate3", **key)
    smd.kill()
    smd.start()
    held = smd.call("DP.stat_vdi", sr=sr, vdi=vdi)
    assert held["dps"] == {"vbd/1/xvda": {"vm": "1", "read_write": True, "state": "Activated"}}
    with pytest.raises(RpcError) as problem:
        smd.call("VDI.attach2", sr=sr, vdi=vdi, dp="vbd/2/xvda", vm="2", read_write=True)
    assert problem.value.params == ("VDI_IN_USE",)


def test_two_hosts_share_the_array_but_not_a_disk(tmp_path: Path) -> None:
    first = DaemonProcess("sm", tmp_path, config(tmp_path), host=1)
    second = DaemonProcess("sm", tmp_path, config(tmp_path), host=2)
    try:
        sr = make_sr(first)
        second.call("SR.attach", sr=sr, type="nfs", device_config=NFS)
        vdi = first.call("VDI.create", sr=sr, vdi_info={"virtual_size": GIB})["uuid"]
        assert vdi in disks(second, sr)
        for host, name in ((first, "a"), (second, "b")):
            host.call("VDI.attach2", sr=sr, vdi=vdi, dp=name, vm="1", read_write=True)
        first.call("VDI.activate3", sr=sr, vdi=vdi, dp="a")
        with pytest.raises(RpcError) as problem:
            second.call("VDI.activate3", sr=sr, vdi=vdi, dp="b")
        assert problem.value.name == "Activated_on_another_host"
        first.call("VDI.deactivate", sr=sr, vdi=vdi, dp="a")
        second.call("VDI.activate3", sr=sr, vdi=vdi, dp="b")
    finally:
        first.stop()
        second.stop()


def test_update_feed_wakes_a_waiting_reader(smd: DaemonProcess) -> None:
    sr = make_sr(smd)
    answer = smd.answer("SR.stat", sr=sr)
    reader = smd.connect()
    found: list[float] = []

    def wait() -> None:
        smd.send(
            reader,
            "UPDATES.get",
            epoch=answer["epoch"],
            cursor=answer["cursor"],
            timeout_s=20.0,
        )
        reader.recv(4096)
        found.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": GIB})
    thread.join(10)
    assert found
    reader.close()


def test_attach_and_activate_cost_little_processor_time(smd: DaemonProcess) -> None:
    sr = make_sr(smd)
    vdi = smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": GIB})["uuid"]
    rounds = 300
    begin = _cpu_s(smd.process.pid)
    for number in range(rounds):
        key = {"sr": sr, "vdi": vdi, "dp": f"vbd/{number}/xvda"}
        smd.call("VDI.attach2", **key, vm=str(number), read_write=True)
        smd.call("VDI.activate3", **key)
        smd.call("VDI.deactivate", **key)
        smd.call("VDI.detach", **key)
    each_ms = (_cpu_s(smd.process.pid) - begin) / rounds / 4 * 1000
    assert each_ms < 0.8  # the bar is 0.5 ms on an idle machine


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
