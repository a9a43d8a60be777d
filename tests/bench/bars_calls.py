"""Bars 1, 2 and 3: single calls, long listings, events."""

import tempfile
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tests.bench.measure import (
    Comparison,
    Line,
    Scale,
    compare,
    cpu_of,
    cpu_s,
    ms,
    percentile,
    us,
)
from tests.bench.pool import BenchPool, bench_pool, seed
from tests.bench.references import XMLRPC_ECHO, program
from tests.bench.wire_client import WireClient, request, value
from tests.unit.api.server import Server
from xapi_py.api.call import Caller
from xapi_py.wire import jsonrpc
from xapi_py.wire.dialect import Dialect
from xapi_py.wire.xmlrpc import XMLRPC


def trivial_call(scale: Scale, pool: BenchPool) -> list[Line]:
    """Bar 1: processor time of one simple call over HTTP, keep-alive."""
    ours = pool.client()
    vm = ours.call("VM.get_all")[0]
    body = request("VM.get_name_label", ours._session, vm)
    write = request("VM.set_name_description", ours._session, vm, "described")
    with program(XMLRPC_ECHO) as (echo, port):
        bare = WireClient(("127.0.0.1", int(port)))
        xapi = pool.pid("xapi")
        found = compare(
            scale.rounds,
            lambda: _cpu_per_call(bare, body, echo, scale.calls),
            lambda: _cpu_per_call(ours, body, xapi, scale.calls),
        )
    begin = time.perf_counter()
    for _ in range(scale.calls):
        ours.post(body)
    rate = scale.calls / (time.perf_counter() - begin)
    spent = _cpu_per_call(ours, write, xapi, scale.calls)
    return [
        found.line("1", "VM.get_name_label, server CPU; bare twisted.web.xmlrpc", 0.5, us),
        Line("", "calls a second, one client (real server: 2261)", "", f"{rate:.0f}/s"),
        Line("", "VM.set_name_description without change, server CPU", "", us(spent)),
    ]


def _cpu_per_call(client: WireClient, body: bytes, server: int, calls: int) -> float:
    begin = cpu_s(server)
    for _ in range(calls):
        client.post(body)
    return (cpu_s(server) - begin) / calls


class Listing:
    """get_all_records of a server in this process, warm or cold."""

    def __init__(self, folder: Path, vms: int) -> None:
        self.server = Server(folder, "7.1")
        for ref in self.server.db.refs("VM"):
            with self.server.db.transaction() as tx:
                tx.delete("VM", ref)
        seed(self.server.db, vms)
        self.server.settle()
        self._session = self.server.login()
        self.records: dict[str, Any] = self.server.call("VM.get_all_records", self._session)
        self.json_records = orjson.loads(self.encode(jsonrpc.JSONRPC2))["result"]

    def encode(self, dialect: Dialect) -> bytes:
        """Give the finished answer, as one."""
        if dialect is XMLRPC:
            body = xmlrpc.client.dumps((self._session,), "VM.get_all_records").encode()
        else:
            call = {"jsonrpc": "2.0", "id": 1, "params": [self._session]}
            body = orjson.dumps({**call, "method": "VM.get_all_records"})
        answer = self.server.dispatcher.rpc(dialect, dialect.parse_request(body), Caller())
        while not isinstance(answer, list):
            self.server.clock.advance(0)
            if answer.called:
                answer = answer.result  # type: ignore[assignment]
        return b"".join(answer)

    def cold(self, dialect: Dialect) -> None:
        dialect.fragments.clear()
        self.encode(dialect)


def listings(scale: Scale) -> list[Line]:
    """Bar 2: VM.get_all_records, all of it but the socket."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Listing(Path(folder), scale.vms)
        records = listing.records
        lines = []
        for name, dialect in (("XML-RPC", XMLRPC), ("JSON-RPC", jsonrpc.JSONRPC2)):
            warm = _compare_cpu(
                scale,
                lambda: orjson.dumps(listing.json_records),
                lambda d=dialect: listing.encode(d),
            )
            cold = _compare_cpu(
                scale,
                lambda: xmlrpc.client.dumps((records,), methodresponse=True),
                lambda d=dialect: listing.cold(d),
            )
            what = f"VM.get_all_records, {scale.vms} VMs, {name}"
            lines += [
                warm.line("2", f"{what}, warm; orjson.dumps", 1.5, ms),
                cold.line("2", f"{what}, cold; xmlrpc.client.dumps", 0.6, ms),
            ]
    return lines


def _compare_cpu(
    scale: Scale, reference: Callable[[], object], ours: Callable[[], object]
) -> Comparison:
    return compare(scale.rounds, lambda: cpu_of(reference), lambda: cpu_of(ours))


def whole_listing(scale: Scale, pool: BenchPool) -> list[Line]:
    """For orientation: the same over TCP, from request to last byte."""
    client = pool.client()
    body = request("VM.get_all_records", client._session)
    size, times = 0, []
    for _ in range(scale.rounds + 1):
        begin = time.perf_counter()
        size = len(client.post(body))
        times.append(time.perf_counter() - begin)
    what = f"the same over TCP, {size / 1e6:.1f} MB, wall (real server: 140 ms)"
    return [Line("", what, "", ms(percentile(times, 0.5)))]


def fan_out(scale: Scale) -> list[Line]:
    """Bar 3, first half: one change to many listeners, all of it but the sockets."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Listing(Path(folder), scale.listeners)
        server, record = listing.server, next(iter(listing.records.values()))
        session = server.login()
        vm = server.db.refs("VM")[0]
        state = {"token": "", "number": 0}

        def wait() -> list[Any]:
            body = xmlrpc.client.dumps((session, ["VM"], state["token"], 60.0), "event.from")
            raw = XMLRPC.parse_request(body.encode())
            return [server.dispatcher.rpc(XMLRPC, raw, Caller()) for _ in range(scale.listeners)]

        def settle(answers: list[Any]) -> None:
            for _ in range(10):
                server.clock.advance(0)
                if all(isinstance(a, list) or a.called for a in answers):
                    break

        def deliver() -> float:
            spent = 0.0
            for _ in range(max(1, scale.events // 10)):
                answers = wait()
                state["number"] = int(state["number"]) + 1
                with server.db.transaction() as tx:
                    tx.set("VM", vm, "name_description", f"change {state['number']}")
                begin = time.thread_time()
                settle(answers)
                spent += time.thread_time() - begin
                state["token"] = server.value_of(answers[0])["token"]
            return spent / max(1, scale.events // 10) / scale.listeners

        answers = wait()
        settle(answers)
        state["token"] = server.value_of(answers[0])["token"]
        found = compare(
            scale.rounds,
            lambda: (
                cpu_of(
                    lambda: [
                        xmlrpc.client.dumps((record,), methodresponse=True)
                        for _ in range(scale.listeners)
                    ]
                )
                / scale.listeners
            ),
            deliver,
        )
    what = f"one change to {scale.listeners} listeners, CPU per delivery; xmlrpc.client.dumps"
    return [found.line("3", what, 0.1, us)]


def event_latency(scale: Scale, pool: BenchPool) -> list[Line]:
    """Bar 3, second half: from sending a write to holding its event."""
    writer, listener = pool.client(), pool.client()
    session = listener._session
    vm = writer.call("VM.get_all")[0]
    token = value(listener.post(request("event.from", session, ["VM"], "", 1.0)))["token"]
    latencies = []
    for number in range(scale.events + 5):
        listener.send(request("event.from", session, ["VM"], token, 60.0))
        time.sleep(0.002)
        write = request("VM.set_name_description", writer._session, vm, f"event {number}")
        begin = time.perf_counter()
        writer.send(write)
        answer = listener.receive()
        latencies.append(time.perf_counter() - begin)
        writer.receive()
        token = value(answer)["token"]
    del latencies[:5]
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    return [
        Line(
            "3",
            "write sent to event held, p99, fsync included",
            "3 ms",
            ms(p99),
            "",
            "<= 3 ms",
            p99 <= 0.003,
        ),
        Line("", "the same, median (real server: 4.2 ms)", "", ms(p50)),
        *_busy_fan_out(scale, pool),
    ]


def _busy_fan_out(scale: Scale, pool: BenchPool) -> list[Line]:
    """For orientation: the same with all listeners over TCP, requests included."""
    writer = pool.client()
    vm = writer.call("VM.get_all")[0]
    clients = [pool.client() for _ in range(scale.listeners)]
    token = value(writer.post(request("event.from", writer._session, ["VM"], "", 1.0)))["token"]
    writes = max(2, scale.events // 10)
    spent = cpu_s(pool.pid("xapi"))
    for number in range(writes):
        for client in clients:
            client.send(request("event.from", client._session, ["VM"], token, 60.0))
        writer.call("VM.set_name_description", vm, f"fan {number}")
        answers = [client.receive() for client in clients]
        token = value(answers[0])["token"]
    used = (cpu_s(pool.pid("xapi")) - spent) / writes / scale.listeners
    for client in clients:
        client.close()
    return [Line("", "one delivery over TCP, its event.from request included, CPU", "", us(used))]


def run(scale: Scale) -> list[Line]:
    """Measure bars 1 to 3."""
    with bench_pool(scale.vms) as pool:
        lines = trivial_call(scale, pool)
        lines += listings(scale)
        lines += whole_listing(scale, pool)
        lines += fan_out(scale)
        lines += event_latency(scale, pool)
    return lines
