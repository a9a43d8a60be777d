"""What ours is measured against: plain programs, as small as they can be."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

XMLRPC_ECHO = """
import sys
from twisted.internet import reactor
from twisted.web import server, xmlrpc
class Echo(xmlrpc.XMLRPC):
    def lookupProcedure(self, path):
        return lambda *params: {"Status": "Success", "Value": params[-1]}
port = reactor.listenTCP(0, server.Site(Echo()), interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.run()
"""
"""A server of twisted.web.xmlrpc that answers the last parameter."""

FRAMED_ECHO = """
import struct, sys
import orjson
from twisted.internet import protocol, reactor
class Echo(protocol.Protocol):
    buffer = b""
    def dataReceived(self, data):
        self.buffer += data
        while len(self.buffer) >= 4:
            end = 4 + struct.unpack_from(">I", self.buffer)[0]
            if len(self.buffer) < end:
                return
            call = orjson.loads(self.buffer[4:end])
            self.buffer = self.buffer[end:]
            answer = orjson.dumps({"id": call["id"], "result": call["params"]})
            self.transport.write(struct.pack(">I", len(answer)) + answer)
reactor.listenUNIX(sys.argv[1], protocol.Factory.forProtocol(Echo))
print("ready", flush=True)
reactor.run()
"""
"""A server of length-prefixed JSON that answers the parameters."""


@contextlib.contextmanager
def program(source: str, *arguments: str) -> Iterator[tuple[int, str]]:
    """Run a server; gives its process and the line it printed when ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().strip()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


class SqliteWriter:
    """Durable writes one by one: a commit for each."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, fields BLOB)")
        self._row = b"x" * 4000  # a VM record as it is stored

    def rate(self, seconds: float) -> float:
        """Write for so long and give the writes a second."""
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            self._connection.execute("INSERT OR REPLACE INTO row VALUES (1, ?)", (self._row,))
            count += 1
        return count / (time.perf_counter() - begin)
