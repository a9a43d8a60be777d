"""Bar 8: durable acknowledged writes of many clients; bar 10: calls between daemons."""

import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from tests.bench.measure import Line, Scale, compare, cpu_s, per_second, us
from tests.bench.pool import BenchPool, bench_pool
from tests.bench.references import FRAMED_ECHO, SqliteWriter, program
from tests.bench.wire_client import request
from xapi_py.base.rpc.client import RpcClient
from xapi_py.pool.gateway import Daemon


def acknowledged_writes(scale: Scale, pool: BenchPool) -> list[Line]:
    """Bar 8: writes a second of many clients, each waiting for its answer."""
    clients = [pool.client() for _ in range(scale.writers)]
    vms = clients[0].call("VM.get_all")
    number = 0

    def rate() -> float:
        nonlocal number
        number += 1
        counts = [0] * len(clients)
        begin = time.perf_counter()

        def write(index: int) -> None:
            client, vm = clients[index], vms[index % len(vms)]
            end = time.perf_counter() + scale.write_s
            while time.perf_counter() < end:
                text = f"write {number} {counts[index]}"
                client.post(request("VM.set_name_description", client._session, vm, text))
                counts[index] += 1

        threads = [Thread(target=write, args=(i,)) for i in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - begin)

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        writer = SqliteWriter(Path(folder) / "one-by-one.sqlite")
        found = compare(scale.rounds, lambda: writer.rate(scale.write_s), rate)
        alone = compare(
            scale.rounds,
            lambda: writer.rate(scale.write_s),
            lambda: _database_rate(scale),
        )
    spent, writes = cpu_s(pool.pid("xapi")), rate() * scale.write_s
    spent = (cpu_s(pool.pid("xapi")) - spent) / writes
    what = f"durable writes, {scale.writers} clients over HTTP; sqlite, a commit for each"
    inside = f"the same, {scale.writers} writers at the database without HTTP"
    return [
        Line(
            "8",
            what,
            per_second(found.reference),
            per_second(found.ours),
            f"{found.ratio:.2f}",
            ">= 3",
            found.ratio >= 3,
        ),
        Line(
            "",
            inside,
            per_second(alone.reference),
            per_second(alone.ours),
            f"{alone.ratio:.2f}",
        ),
        Line("", "server CPU for each write over HTTP", "", us(spent)),
    ]


def _database_rate(scale: Scale) -> float:
    arguments = ["tests.bench.database_writers", str(scale.writers), str(scale.write_s)]
    command = [sys.executable, "-m", *arguments]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


class _Echo(Protocol):
    """The smallest client of length-prefixed JSON."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: dict[int, Deferred[Any]] = {}
        self._number = 0

    def call(self, params: Any) -> "Deferred[Any]":
        self._number += 1
        waiting = self._waiting[self._number] = Deferred()
        body = orjson.dumps({"id": self._number, "method": "echo", "params": params})
        assert self.transport is not None
        self.transport.write(struct.pack(">I", len(body)) + body)
        return waiting

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4:
            end = 4 + struct.unpack_from(">I", self._buffer)[0]
            if len(self._buffer) < end:
                return
            answer = orjson.loads(self._buffer[4:end])
            self._buffer = self._buffer[end:]
            self._waiting.pop(answer["id"]).callback(answer["result"])


async def _round_trips(scale: Scale, daemon_path: str, echo_path: str) -> list[Line]:
    reactor: Any = installed_reactor
    daemon = Daemon(RpcClient(reactor, daemon_path))
    endpoint = UNIXClientEndpoint(reactor, echo_path)
    echo: Any = await endpoint.connect(Factory.forProtocol(_Echo))
    references, ours = [], []
    for _ in range(scale.rounds + 1):
        begin = time.perf_counter()
        for _ in range(scale.calls):
            await echo.call({"x": 1})
        references.append((time.perf_counter() - begin) / scale.calls)
        begin = time.perf_counter()
        for _ in range(scale.calls):
            await daemon.read("DEBUG.echo", {"x": 1}, dbg="bench")
        ours.append((time.perf_counter() - begin) / scale.calls)
    pairs = iter(list(zip(references, ours, strict=True))[1:])
    state = {"pair": next(pairs)}

    def reference() -> float:
        return state["pair"][0]

    def mine() -> float:
        found = state["pair"][1]
        state["pair"] = next(pairs, state["pair"])
        return found

    found = compare(scale.rounds, reference, mine)
    return [found.line("10", "xapi to xenopsd, no-op round trip; bare echo", 1.5, us)]


def round_trips(scale: Scale, pool: BenchPool) -> list[Line]:
    """Bar 10: a call of the server's own client to the domain daemon."""
    reactor: Any = installed_reactor
    lines: list[Line] = []
    failures: list[Any] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        echo_path = f"{folder}/echo.sock"
        with program(FRAMED_ECHO, echo_path):
            daemon_path = str(pool.state / "run" / "xenopsd.sock")

            def begin() -> None:
                running = Deferred.fromCoroutine(_round_trips(scale, daemon_path, echo_path))
                running.addCallbacks(lines.extend, failures.append)
                running.addCallback(lambda _: reactor.stop())

            reactor.callWhenRunning(begin)
            reactor.run()
    if failures:
        failures[0].raiseException()
    return lines


def run(scale: Scale) -> list[Line]:
    """Measure bars 8 and 10."""
    with bench_pool(scale.vms) as pool:
        return acknowledged_writes(scale, pool) + round_trips(scale, pool)
