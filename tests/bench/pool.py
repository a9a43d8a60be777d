"""One simulated host whose processes the benchmark can look into."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.internet.task import Clock

from tests.bench.wire_client import WireClient
from xapi_py.base.names import new_uuid
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.sqlite import SqliteEngine

PASSWORD = "bench"
DAEMONS = {"xenopsd": "xenops", "smd": "sm", "networkd": "xcp_networkd"}
HOST = {"memory_mib": 4_000_000}


class BenchPool:
    """The daemons of one host and its API server, on any free port."""

    def __init__(
        self, folder: Path, simulator: dict[str, Any] | None = None, watched: bool = False
    ) -> None:
        self._program = "tests.bench.watched_server" if watched else "xapi_py.main"
        self.state = folder / "state"
        self._stalls = folder / "stalls.json"
        (self.state / "run").mkdir(parents=True)
        (folder / "pw").write_text(PASSWORD)
        (folder / "sim.yaml").write_text(yaml.safe_dump(simulator or {"hosts": [HOST]}))
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = 0

    @property
    def database(self) -> Path:
        return self.state / "state.sqlite"

    def pid(self, name: str) -> int:
        """Give the process of ``xapi``, ``xenopsd``, ``smd`` or ``networkd``."""
        return self._processes[name].pid

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._processes)

    def kill_and_start(self, name: str) -> None:
        """End a process the hard way and start it again; only for ``xapi``."""
        self._processes[name].kill()
        self._processes[name].wait()
        self._start_server()

    def start(self) -> None:
        """Start everything; returns once the server answers clients."""
        config = ["--config", str(self._folder / "sim.yaml")]
        for name, module in DAEMONS.items():
            socket = str(self.state / "run" / f"{name}.sock")
            own = ["--socket", socket, "--state", str(self.state / name), "--host", "1"]
            self._spawn(name, [module, *own, *config])
        self._start_server()

    def _start_server(self) -> None:
        config = ["--config", str(self._folder / "sim.yaml")]
        own = ["--state", str(self.state), "--http", "0", "--https", "0"]
        own += ["--password-file", str(self._folder / "pw"), "--profile", "7.1", *config]
        ready = self._spawn("xapi", [self._program, *own])
        self.port = ready["http"]

    def _spawn(self, name: str, command: list[str]) -> Any:
        readable, writable = os.pipe()
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command, "--ready-fd", str(writable)],
                pass_fds=[writable],
                stdout=log,
                stderr=log,
                env={**os.environ, "XAPI_BENCH_STALLS": str(self._stalls)},
            )
        os.close(writable)
        with os.fdopen(readable) as pipe:
            line = pipe.readline()
        if not line.strip():
            raise RuntimeError((self._folder / f"{name}.log").read_text()[-3000:])
        return json.loads(line)

    def stop(self) -> None:
        """Stop everything in order."""
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            process.wait(60)
        self._processes.clear()

    def client(self, login: bool = True) -> WireClient:
        """Connect over TCP and log in."""
        client = WireClient(("127.0.0.1", self.port))
        if login:
            client.login(PASSWORD)
        return client

    def stalls(self) -> list[tuple[float, float, float]]:
        """Give the longest turns of the server's loop since the last call, longest first.

        Seconds: wall without the wait for a processor, wall, processor time.
        """
        self._stalls.unlink(missing_ok=True)
        os.kill(self.pid("xapi"), signal.SIGUSR1)
        deadline = time.monotonic() + 60
        while not self._stalls.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the server does not report its stalls")
            time.sleep(0.01)
        return [(own, wall, cpu) for own, wall, cpu in json.loads(self._stalls.read_text())]


@contextlib.contextmanager
def bench_pool(vms: int = 0, watched: bool = False) -> Iterator[BenchPool]:
    """A running pool with so many VM records, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="xb-", dir="/tmp") as folder:
        pool = BenchPool(Path(folder), watched=watched)
        pool.start()
        try:
            if vms:
                pool.stop()
                seed_file(pool.database, vms)
                pool.start()
            yield pool
        finally:
            pool.stop()


class _Now:
    """Finishes what the engine's thread did at once; there is no reactor here."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[Any] = []

    def callFromThread(self, call: Any, *arguments: Any) -> None:  # noqa: N802
        self.calls.append((call, arguments))

    def run_until(self, done: Any) -> None:
        outcome: list[Any] = []
        done.addBoth(outcome.append)
        while not outcome:
            self.clock.advance(0)
            while self.calls:
                call, arguments = self.calls.pop(0)
                call(*arguments)
            time.sleep(0.001)


def seed_file(path: Path, count: int) -> None:
    """Put VM records into the database file of a server that does not run."""
    now = _Now()
    db = Database(load_model("all"), SqliteEngine(path, now), now.clock)
    for first in range(0, count, 5000):
        seed(db, min(5000, count - first), first)
        now.run_until(db.durable())
    now.run_until(db.close())


def seed(db: Database, count: int, first: int = 0) -> list[str]:
    """Make VM records as clients see them most: no devices, some ten map entries."""
    hosts = db.refs("host")
    with db.transaction() as tx:
        return [
            tx.create("VM", vm_values(number, tx.create("VM_metrics", {}), hosts))
            for number in range(first, first + count)
        ]


def vm_values(number: int, metrics: str, hosts: Any) -> dict[str, Any]:
    """Give the fields of one such VM."""
    size = 1 << 30
    return {
        "uuid": new_uuid(),
        "name_label": f"bench {number}",
        "name_description": f"a virtual machine, number {number}",
        "user_version": 1,
        "is_a_template": False,
        "power_state": "Halted",
        "memory_static_max": size,
        "memory_dynamic_max": size,
        "memory_dynamic_min": size,
        "memory_static_min": size // 2,
        "VCPUs_max": 2,
        "VCPUs_at_startup": 2,
        "HVM_boot_policy": "BIOS order",
        "HVM_boot_params": {"order": "cdn"},
        "platform": {
            "timeoffset": "0",
            "nx": "true",
            "acpi": "1",
            "apic": "true",
            "pae": "true",
            "viridian": "true",
        },
        "other_config": {
            "base_template_name": "Other install media",
            "mac_seed": new_uuid(),
            "install-methods": "cdrom",
            "bench": str(number),
        },
        "metrics": metrics,
        "actions_after_crash": "restart",
        "actions_after_reboot": "restart",
        "actions_after_shutdown": "destroy",
        "allowed_operations": ("start", "start_on", "clone", "copy", "destroy", "snapshot"),
        "affinity": hosts[0] if hosts else "OpaqueRef:NULL",
    }
