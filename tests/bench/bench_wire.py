"""What calls and records cost on the wire, as ratios to well-known references.

Run ``python -m tests.bench.bench_wire``.  Reference and ours are interleaved;
the ratio shown is the median of the rounds.  CPU time, not wall time.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
from twisted.internet import reactor as installed_reactor
from twisted.web import server
from twisted.web.xmlrpc import XMLRPC as TwistedXmlRpc

from xapi_py.base.names import new_uuid
from xapi_py.datamodel.model import Bool, Float, Int, MapOf, OptionOf, RefOf, SetOf, String, Type
from xapi_py.datamodel.profiles import load_model
from xapi_py.http.routes import Routes
from xapi_py.http.rpc import add_rpc_routes
from xapi_py.http.server import HttpServer
from xapi_py.wire import jsonrpc
from xapi_py.wire.xmlrpc import XMLRPC

ROUNDS = 5
VMS = 1000
REQUESTS = 3000
MODEL = load_model("newest")
VM = MODEL.classes["VM"]
CALL = xmlrpc.client.dumps((f"OpaqueRef:{new_uuid()}", f"OpaqueRef:{new_uuid()}"), "echo").encode()

Work = Callable[[], object]


def cpu_s(work: Work, times: int = 1) -> float:
    """Give the CPU seconds one call of ``work`` takes."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def compare(name: str, bar: float, reference: Work, ours: Work, times: int = 1) -> None:
    """Print one line of the table."""
    rounds = [(cpu_s(reference, times), cpu_s(ours, times)) for _ in range(ROUNDS)]
    show(name, bar, rounds)


def show(name: str, bar: float, rounds: list[tuple[float, float]]) -> None:
    theirs, ours = (statistics.median(r[i] for r in rounds) * 1e6 for i in (0, 1))
    ratio = statistics.median(b / a for a, b in rounds)
    verdict = "ok" if ratio <= bar else "MISSED"
    print(f"{name:44} {theirs:12.1f} us {ours:12.1f} us {ratio:6.2f} <= {bar:4.2f} {verdict}")


def trivial_call() -> None:
    """Parse a getter, decode its parameters, write its answer."""

    def theirs() -> bytes:
        xmlrpc.client.loads(CALL)
        answer = ({"Status": "Success", "Value": "Halted"},)
        return xmlrpc.client.dumps(answer, methodresponse=True).encode()

    def ours() -> bytes:
        call = XMLRPC.parse_request(CALL)
        for raw in call.params:
            XMLRPC.decode(raw, String(), MODEL)
        return b"".join(XMLRPC.success([XMLRPC.encode("Halted", String())]))

    compare("trivial call, xmlrpc.client", 0.60, theirs, ours, 2000)


def some(type_: Type, name: str) -> Any:
    match type_:
        case Int():
            return 8589934592
        case Bool():
            return True
        case Float():
            return 1.5
        case SetOf(element):
            return tuple(some(element, name) for _ in range(3))
        case MapOf(_, value):
            return {f"key{i}": some(value, name) for i in range(5)}
        case RefOf():
            return f"OpaqueRef:{new_uuid()}"
        case OptionOf():
            return None
        case String():
            return f"some text, {name}" if name != "recommendations" else '<r field="x"/>' * 12
    return 0 if str(type_) == "datetime" else "halted"


def records() -> None:
    """List full VM records."""
    rows = []
    for _ in range(VMS):
        values = {f.name: some(f.type, f.name) for f in VM.wire_fields}
        rows.append(SimpleNamespace(**values, ref=f"OpaqueRef:{new_uuid()}", modified=1))
    # no cache takes part here: these are the plain references
    plain = {r.ref: orjson.loads(jsonrpc.JSONRPC2.encode_record(r, VM, MODEL)) for r in rows}
    texts = {
        ref: {k: str(v) if type(v) is int else v for k, v in record.items()}
        for ref, record in plain.items()
    }

    def cold() -> None:
        XMLRPC.fragments.clear()
        XMLRPC.success(XMLRPC.records(rows, VM, MODEL))

    compare(
        f"{VMS} VM records cold, xmlrpc.client",
        0.60,
        lambda: xmlrpc.client.dumps((texts,), methodresponse=True).encode(),
        cold,
    )
    for dialect in (XMLRPC, jsonrpc.JSONRPC2):
        dialect.records(rows, VM, MODEL)

        def warm(dialect: Any = dialect) -> None:
            dialect.success(dialect.records(rows, VM, MODEL))

        name = f"{VMS} VM records warm {dialect.name}, orjson.dumps"
        compare(name, 1.50, lambda: orjson.dumps(plain), warm, 5)


class Echo(TwistedXmlRpc):
    """The reference server."""

    def xmlrpc_echo(self, *params: str) -> str:
        return "Halted"


def serve(which: str) -> None:
    """Be a server that answers a constant, and print its port."""
    reactor: Any = installed_reactor
    routes = Routes()
    add_rpc_routes(routes, lambda _, d, c: d.success([d.text("Halted")], c.id), "newest")
    factory = server.Site(Echo()) if which == "twisted" else HttpServer(routes, reactor)
    print(reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port, flush=True)
    reactor.run()


def request_cpu_s(which: str) -> float:
    """Give the CPU seconds a server takes for one request on a kept connection."""
    command = [sys.executable, "-m", "tests.bench.bench_wire", which]
    head = (
        f"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {len(CALL)}"
    )
    request = head.encode() + b"\r\n\r\n" + CALL
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                start = 0.0
                for number in range(REQUESTS + 300):
                    if number == 300:
                        start = process_cpu_s(process.pid)
                    client.sendall(request)
                    answer = b""
                    while b"</methodResponse>" not in answer:
                        answer += client.recv(65536)
                return (process_cpu_s(process.pid) - start) / REQUESTS
        finally:
            process.kill()


def process_cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the table, or be one of the servers it measures."""
    if len(sys.argv) > 1:
        serve(sys.argv[1])
        return
    trivial_call()
    records()
    rounds = [(request_cpu_s("twisted"), request_cpu_s("ours")) for _ in range(3)]
    show("request over HTTP, twisted.web.xmlrpc", 0.50, rounds)


if __name__ == "__main__":
    main()
