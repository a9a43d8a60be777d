"""Bars 4 and 10 for the domain daemon: CPU per VM start, no-op round trip.

Run: python -m tests.bench.bench_xenopsd [VMs]
"""

import asyncio
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

MIB = 1024 * 1024
ECHO = """
import asyncio, struct, orjson, sys
async def serve(r, w):
    while True:
        n, = struct.unpack(">I", await r.readexactly(4))
        m = orjson.loads(await r.readexactly(n))
        b = orjson.dumps({"jsonrpc": "2.0", "id": m["id"], "result": m["params"]})
        w.write(struct.pack(">I", len(b)) + b)
async def main():
    s = await asyncio.start_unix_server(serve, sys.argv[1])
    print("ready", flush=True)
    await s.serve_forever()
asyncio.run(main())
"""


class Peer:
    """A framed JSON-RPC client that keeps many calls under way."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[object]] = {}

    async def connect(self, path: Path) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(str(path))
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            (size,) = struct.unpack(">I", await self._reader.readexactly(4))
            answer = orjson.loads(await self._reader.readexactly(size))
            waiter = self._waiting.pop(answer["id"])
            if "error" in answer:
                waiter.set_exception(RuntimeError(str(answer["error"])))
            else:
                waiter.set_result(answer["result"])

    def call(self, method: str, **params: object) -> "asyncio.Future[object]":
        number = len(self._waiting) + time.perf_counter_ns()
        body = orjson.dumps({"id": number, "method": method, "params": params, "dbg": "bench"})
        self._writer.write(struct.pack(">I", len(body)) + body)
        waiter: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiter
        return waiter


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def metadata(number: int) -> dict[str, object]:
    """A VM as a template makes it: one disk, a drive, a network device."""
    size = 16 * MIB
    return {
        "vm": {
            "id": f"6f2a3c52-0000-4000-8000-{number:012d}",
            "name": f"bench {number}",
            "memory_static_max": size,
            "memory_dynamic_max": size,
            "memory_dynamic_min": size,
            "vcpu_max": 1,
            "vcpus": 1,
            "platformdata": {"acpi": "1", "apic": "true", "nx": "true", "pae": "true"},
        },
        "vbds": [
            {"device": "xvda", "backend": {"sr": "s", "vdi": str(number)}},
            {"device": "xvdd", "mode": "RO", "ty": "CDROM"},
        ],
        "vifs": [{"device": "0", "mac": "02:16:3e:01:02:03", "bridge": "xenbr0"}],
    }


async def starts(peer: Peer, pid: int, count: int) -> None:
    """Start many VMs at once and say what each cost the daemon."""
    vms = [metadata(n) for n in range(count)]
    for name, method, params in (
        ("import", "VM.import_metadata", [{"md": md} for md in vms]),
        ("start", "VM.start", [{"id": md["vm"]["id"]} for md in vms]),  # type: ignore[index]
        ("stat", "VM.stat", [{"id": md["vm"]["id"]} for md in vms]),  # type: ignore[index]
        ("agents up, idle", "DEBUG.echo", []),
        ("metrics", "VM.metrics", [{}]),
        ("shutdown", "VM.shutdown", [{"id": md["vm"]["id"], "force": True} for md in vms]),  # type: ignore[index]
    ):
        begin, spent = time.perf_counter(), cpu_s(pid)
        await asyncio.gather(*(peer.call(method, **p) for p in params))
        if not params:
            await asyncio.sleep(2)
        wall, used = time.perf_counter() - begin, cpu_s(pid) - spent
        print(f"{name:16} {used / count * 1000:7.3f} ms CPU per VM   {count / wall:8.0f} VM/s")


async def round_trip(peer: Peer, count: int = 3000) -> float:
    """Seconds for one no-op call after the other."""
    begin = time.perf_counter()
    for _ in range(count):
        await peer.call("DEBUG.echo", x=1)
    return (time.perf_counter() - begin) / count


async def main(count: int) -> None:
    """Run both measurements."""
    with tempfile.TemporaryDirectory() as folder:
        ready, child = os.pipe()
        place = Path(folder)
        (place / "c.yaml").write_text("hosts: [{memory_mib: 200000}]\n")
        arguments = [
            "--socket",
            f"{folder}/x",
            "--state",
            f"{folder}/s",
            "--config",
            f"{folder}/c.yaml",
        ]
        daemon = subprocess.Popen(
            [sys.executable, "-m", "xenops", *arguments, "--ready-fd", str(child)], pass_fds=[child]
        )
        echo = subprocess.Popen([sys.executable, "-c", ECHO, f"{folder}/e"], stdout=subprocess.PIPE)
        try:
            os.close(child)
            os.read(ready, 1)
            assert echo.stdout is not None
            echo.stdout.readline()
            ours, bare = Peer(), Peer()
            await ours.connect(place / "x")
            await bare.connect(place / "e")
            ratios = []
            for _ in range(5):
                mine, reference = await round_trip(ours), await round_trip(bare)
                ratios.append(mine / reference)
            print(
                f"no-op round trip {mine * 1e6:.0f} us, {statistics.median(ratios):.2f} x bare echo"
            )
            await starts(ours, daemon.pid, count)
        finally:
            daemon.kill()
            echo.kill()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
