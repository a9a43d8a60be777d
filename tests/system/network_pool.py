"""A whole server on a host whose network is real: only its domains and disks are made up."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import XenAPI
import yaml

from tests.integration.running_pool import UnixTransport
from tests.system.network_lab import NetworkLab

PASSWORD = "of the test"


class NetworkPool:
    """A pool of one host in the namespace of a ``NetworkLab``; call its messages with ``do``."""

    def __init__(self, lab: NetworkLab) -> None:
        self._lab = lab
        self.state = lab.folder / "pool"
        (self.state / "run").mkdir(parents=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        (self.state / "password").write_text(PASSWORD)
        self._write("networkd.yaml", {"network": lab.network})
        self._write("simulator.yaml", {"hosts": [{"xenops": {"network": "daemon"}}]})

    def _write(self, name: str, value: object) -> None:
        (self.state / name).write_text(yaml.safe_dump(value))

    def start(self) -> None:
        """Start the daemons and the server, and log in."""
        for name, module, backend, config in (
            ("xenopsd", "xenops", "simulator", "simulator.yaml"),
            ("smd", "sm", "simulator", "simulator.yaml"),
            ("networkd", "xcp_networkd", self._lab.system, "networkd.yaml"),
        ):
            socket_path = self.state / "run" / f"{name}.sock"
            words = ["--socket", str(socket_path), "--state", str(self.state / name)]
            self._start(module, backend, config, *words)
        words = ["--state", str(self.state), "--http", "0", "--https", "0", "--profile", "newest"]
        words += ["--password-file", str(self.state / "password")]
        self._start("xapi_py.main", "simulator", "simulator.yaml", *words)
        transport = UnixTransport(str(self.state / "run" / "xapi"))
        self._session = XenAPI.Session("http://localhost", transport=transport)
        self._session.login_with_password("root", PASSWORD, "2.6", "tests")
        self.host = self.do("session.get_this_host", self._session.handle)

    def _start(self, module: str, backend: str, config: str, *words: str) -> None:
        readable, writable = os.pipe()
        arguments = [sys.executable, "-m", module, *words, "--config", str(self.state / config)]
        arguments += ["--backend", backend, "--ready-fd", str(writable)]
        with (self.state / "output").open("ab") as log, self._lab.host.entered():
            process = subprocess.Popen(arguments, pass_fds=[writable], stderr=log)
        self._processes.append(process)
        os.close(writable)
        with os.fdopen(readable) as pipe:
            line = pipe.readline()
        assert line, f"{module} did not start: {(self.state / 'log').read_text()[-2000:]}"
        json.loads(line)

    def stop(self) -> None:
        """End all processes at once."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._processes.clear()

    def do(self, method: str, *params: Any) -> Any:
        """Call a message and give its value.  Errors: XenAPI.Failure."""
        return self._session.xenapi_request(method, params)

    def pif(self, device: str) -> str:
        """Give the PIF of a device of the host's own."""
        records = self.do("PIF.get_all_records")
        return next(r for r, p in records.items() if p["device"] == device and p["VLAN"] == "-1")

    def metrics(self, pif: str) -> dict[str, Any]:
        found: dict[str, Any] = self.do("PIF_metrics.get_record", self.do("PIF.get_metrics", pif))
        return found

    def machine(self, *, network_of: str, mac: str, kbps: str) -> str:
        """Start a VM with a limited VIF on the network of a NIC, and give it."""
        (template,) = self.do("VM.get_by_name_label", "Other install media")
        vm = str(self.do("VM.clone", template, "limited"))
        self.do("VM.provision", vm)
        network = self.do("PIF.get_network", self.pif(network_of))
        record = {"VM": vm, "network": network, "device": "0", "MAC": mac, "MTU": "1500"}
        limit = {"qos_algorithm_type": "ratelimit", "qos_algorithm_params": {"kbps": kbps}}
        self.do("VIF.create", {**record, **limit, "other_config": {}})
        self.do("VM.start", vm, False, False)
        return vm

    def rules(self) -> str:
        """Give the rules for devices on the kernel's bridges."""
        return self._lab.host.run("nft", "list", "ruleset")

    def bond(self, *devices: str, mode: str) -> str:
        """Bond NICs on a network of its own and give the bond."""
        record = {"name_label": "bond", "other_config": {}, "MTU": "1500"}
        network = self.do("network.create", record)
        members = [self.pif(device) for device in devices]
        return str(self.do("Bond.create", network, members, "", mode, {}))


@contextlib.contextmanager
def pool(lab: NetworkLab) -> Iterator[NetworkPool]:
    """A running pool; its processes are gone at the end."""
    made = NetworkPool(lab)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def seconds_until(value: Callable[[], object], wanted: object, timeout_s: float) -> float:
    """Wait until a value is as wanted; infinity when that does not come in time."""
    begin = time.monotonic()
    while time.monotonic() - begin < timeout_s:
        if value() == wanted:
            return time.monotonic() - begin
        time.sleep(0.02)
    return float("inf")
