"""The domain daemon as a real process on its socket."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
ALONE = "xenops: {storage: none, guest: {boot_delay_s: 0.05, shutdown_delay_s: 0.01}}\n"


class Daemon:
    """One daemon process that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "simulator.yaml"
        self._config.write_text(ALONE)
        self.start()

    def start(self) -> None:
        ready, child_end = os.pipe()
        arguments = ["--socket", str(self._folder / "sock"), "--state", str(self._folder / "state")]
        more = ["--config", str(self._config), "--ready-fd", str(child_end)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xenops", *arguments, *more], pass_fds=[child_end]
        )
        os.close(child_end)
        with os.fdopen(ready) as pipe:
            assert pipe.readline(), "the daemon ended"
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(20)
        self._connection.connect(str(self._folder / "sock"))
        self._calls = 0

    def kill(self) -> None:
        self._connection.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def send(self, method: str, **params: object) -> None:
        self._calls += 1
        body = orjson.dumps(
            {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        )
        self._connection.sendall(struct.pack(">I", len(body)) + body)

    def call(self, method: str, **params: object) -> Any:
        self.send(method, **params)
        answer = orjson.loads(self._read(*struct.unpack(">I", self._read(4))))
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"], *answer["error"].get("data", ()))
        return answer["result"]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._connection.recv(size - len(data))
        return data

    def wait_for(self, vm: str, **wanted: object) -> dict[str, Any]:
        """Follow the update feed until the VM's state has these members."""
        cursor, end = 0, time.monotonic() + 10
        while time.monotonic() < end:
            updates = self.call("UPDATES.get", cursor=cursor, timeout_s=5, stat=True)
            cursor = updates["cursor"]
            stat: dict[str, Any] = updates["vms"].get(vm) or self.call("VM.stat", id=vm)
            if all(stat[key] == value for key, value in wanted.items()):
                return stat
        raise AssertionError(f"{vm} did not reach {wanted}")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.kill()


def make_md(number: int = 1, **changes: object) -> dict[str, Any]:
    vm: dict[str, object] = {
        "id": f"6f2a3c52-0000-4000-8000-{number:012d}",
        "name": f"vm {number}",
        "memory_static_max": 256 * MIB,
        "memory_dynamic_max": 256 * MIB,
        "memory_dynamic_min": 256 * MIB,
        "vcpu_max": 2,
        "vcpus": 1,
    }
    return {
        "vm": vm | changes,
        "vbds": [
            {"device": "xvda", "backend": {"sr": "s", "vdi": "v"}},
            {"device": "xvdd", "mode": "RO", "ty": "CDROM"},
        ],
        "vifs": [{"device": "0", "mac": "02:16:3e:01:02:03", "bridge": "xenbr0"}],
    }


def test_a_vm_lives_through_its_states(daemon: Daemon) -> None:
    md = make_md()
    vm = md["vm"]["id"]
    daemon.call("VM.import_metadata", md=md)
    assert daemon.call("VM.stat", id=vm)["power_state"] == "Halted"
    daemon.call("VM.start", id=vm, paused=True, force=False)
    assert daemon.call("VM.stat", id=vm)["power_state"] == "Paused"
    daemon.call("VM.unpause", id=vm)
    stat = daemon.wait_for(vm, power_state="Running", pv_drivers_detected=True)
    assert stat["guest_agent"]["attr/vif/0/ipv4/0"] == "10.1.2.3"
    assert stat["domids"] == [1]
    daemon.call("VM.suspend", id=vm, disk={"sr": "s", "vdi": "image"})
    assert daemon.call("VM.stat", id=vm)["power_state"] == "Suspended"
    daemon.call("VM.resume", id=vm, disk={"sr": "s", "vdi": "image"}, paused=False)
    stat = daemon.call("VM.stat", id=vm)
    assert (stat["power_state"], stat["domids"]) == ("Running", [2])
    daemon.call("VM.shutdown", id=vm, timeout_s=10, force=False)
    assert daemon.call("VM.stat", id=vm)["power_state"] == "Halted"
    daemon.call("VM.remove", id=vm)
    assert daemon.call("VM.list") == []


def test_vms_survive_kill_of_the_daemon(daemon: Daemon) -> None:
    running, paused = make_md(1), make_md(2)
    for md in (running, paused):
        daemon.call("VM.import_metadata", md=md)
        daemon.call("VM.start", id=md["vm"]["id"], paused=md is paused)
    before = [daemon.wait_for(running["vm"]["id"], pv_drivers_detected=True)]
    before.append(daemon.call("VM.stat", id=paused["vm"]["id"]))
    daemon.kill()
    daemon.start()
    assert [daemon.call("VM.stat", id=stat["id"]) for stat in before] == before
    daemon.call("VM.shutdown", id=running["vm"]["id"], force=True)
    daemon.call("VM.start", id=running["vm"]["id"])
    assert daemon.call("VM.stat", id=running["vm"]["id"])["domids"] == [3]


def test_a_half_made_domain_is_gone_after_a_restart(daemon: Daemon, tmp_path: Path) -> None:
    daemon.kill()
    (tmp_path / "simulator.yaml").write_text("xenops: {storage: none, latencies: {vbd_plug: 60}}\n")
    daemon.start()
    md = make_md()
    vm = md["vm"]["id"]
    daemon.call("VM.import_metadata", md=md)
    free = daemon.call("HOST.stat")["memory_free"]
    daemon.send("VM.start", id=vm)
    domains = tmp_path / "state/hypervisor/domains.journal"
    while not domains.stat().st_size:
        time.sleep(0.01)
    daemon.kill()
    daemon.start()
    assert daemon.call("VM.stat", id=vm)["power_state"] == "Halted"
    assert daemon.call("HOST.stat")["memory_free"] == free


def test_errors_have_names_and_parameters(daemon: Daemon) -> None:
    md = make_md()
    vm = md["vm"]["id"]
    with pytest.raises(RuntimeError) as unknown:
        daemon.call("VM.start", id=vm)
    assert unknown.value.args == ("Does_not_exist", "VM", vm)
    with pytest.raises(RuntimeError) as bad:
        daemon.call("VM.import_metadata", md={"vm": md["vm"] | {"vcpus": 3}})
    assert bad.value.args[0] == "Invalid_metadata"
    daemon.call("VM.import_metadata", md=md)
    with pytest.raises(RuntimeError) as halted:
        daemon.call("VM.pause", id=vm)
    assert halted.value.args == ("Bad_power_state", "Halted", "Running, Paused")


def test_a_console_answers_on_its_socket(daemon: Daemon) -> None:
    md = make_md(ty="PV")
    vm = md["vm"]["id"]
    daemon.call("VM.import_metadata", md=md)
    daemon.call("VM.start", id=vm)
    assert [c["protocol"] for c in daemon.call("VM.stat", id=vm)["consoles"]] == ["rfb", "vt100"]
    for protocol, hello in (("rfb", b"RFB 003.008\n"), ("vt100", b"\r\nvm 1 login: ")):
        console = daemon.call("CONSOLE.open", id=vm, protocol=protocol)
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.settimeout(10)
            viewer.connect(console["path"])
            assert viewer.recv(100) == hello
