"""A pool of our own in separate processes, and the clients tests talk to it with."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import XenAPI

START_S = 60
STOP_S = 60


class PoolFailed(Exception):
    """The pool did not start; the text is what it printed."""


class RunningPool:
    """A supervisor with all its daemons, on free loopback ports and its own state folder.

    ``module`` and ``before`` let a test put another program in its place.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        module: str = "xapi_py.supervisor",
        before: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.ready_file = folder / "ready.json"
        self.output = folder / "output"
        self._module = module
        self._before = tuple(before)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}

    def arguments(self, *more: str) -> list[str]:
        """The command line of this pool."""
        fixed = ("--state", str(self.state), "--http", "0", "--https", "0")
        ready = ("--ready-file", str(self.ready_file), "--backend", "simulator")
        program = [sys.executable, "-m", self._module, *self._before]
        return [*program, *fixed, *ready, *self._options, *more]

    def start(self) -> "RunningPool":
        """Start and wait until every host answers.

        Errors: PoolFailed with everything the supervisor printed.
        """
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.arguments(), stdout=subprocess.PIPE, stderr=output, stdin=subprocess.DEVNULL
            )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()  # the banner comes after the ready file
        if not first:
            self._process.wait(START_S)
            raise PoolFailed(self.output.read_text(errors="replace"))
        self.ready = json.loads(self.ready_file.read_text())
        return self

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        assert self._process is not None
        return self._process.pid

    def wait(self) -> int:
        """Wait for the supervisor's end and give its exit status."""
        assert self._process is not None
        status = self._process.wait(STOP_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop everything and give the supervisor's exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def restart(self) -> "RunningPool":
        """Stop and start again on the same state."""
        self.stop()
        return self.start()

    def daemon(self, name: str, host: int = 1) -> int:
        """Find the process of a daemon: ``xapi``, ``xenopsd``, ``smd``, ``networkd``."""
        module = {"xenopsd": "xenops", "smd": "sm", "networkd": "xcp_networkd"}
        wanted = [b"-m", module.get(name, "xapi_py.main").encode()]
        for process in children(self.pid):
            words = command_line(process)
            here = str(self.state / f"host-{host}").encode()
            if any(words[i : i + 2] == wanted for i in range(len(words))) and any(
                word == here or word.startswith(here + b"/") for word in words
            ):
                return process
        raise LookupError(f"no process of {name} on host {host}")

    def kill(self, name: str, host: int = 1) -> int:
        """Kill a daemon the hard way and give the number its process had."""
        process = self.daemon(name, host)
        os.kill(process, signal.SIGKILL)
        return process

    def host(self, number: int = 1) -> "Endpoint":
        """Give the ways to reach host ``number``."""
        entry = self.ready["pools"][number - 1]["hosts"][0]
        return Endpoint(self.ready["user"], self.ready["password"], **entry)


@dataclass(frozen=True)
class Endpoint:
    """One host's addresses and the administrator's credentials."""

    user: str
    password: str
    address: str
    http: int
    https: int
    socket: str

    @property
    def http_url(self) -> str:
        return f"http://{self.address}:{self.http}"

    @property
    def https_url(self) -> str:
        return f"https://{self.address}:{self.https}"

    @contextlib.contextmanager
    def session(self, transport: str = "http") -> Iterator[XenAPI.Session]:
        """Log in with the official SDK over ``http``, ``https`` or ``unix``; log out after."""
        session = self.connect(transport)
        session.xenapi.login_with_password(self.user, self.password, "2.6", "tests")
        try:
            yield session
        finally:
            with contextlib.suppress(OSError, xmlrpc.client.Error, XenAPI.Failure):
                session.xenapi.session.logout()

    def connect(self, transport: str = "http") -> XenAPI.Session:
        """Give an SDK session that has not logged in."""
        if transport == "unix":
            unix = UnixTransport(self.socket)
            return XenAPI.Session("http://localhost", transport=unix)
        url = self.https_url if transport == "https" else self.http_url
        return XenAPI.Session(url, ignore_ssl=True)

    def json(self, version: str = "2.0", tls: bool = False) -> "JsonClient":
        """Give a JSON-RPC client that has not logged in."""
        return JsonClient(self, version, tls)


class JsonClient:
    """JSON-RPC 1.0 or 2.0 over one kept connection to ``/jsonrpc``."""

    def __init__(self, endpoint: Endpoint, version: str, tls: bool) -> None:
        self._endpoint, self._version = endpoint, version
        if tls:
            context = ssl._create_unverified_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                endpoint.address, endpoint.https, context=context, timeout=60
            )
        else:
            self._connection = http.client.HTTPConnection(
                endpoint.address, endpoint.http, timeout=60
            )
        self._next_id = 0
        self.session = ""

    def login(self) -> "JsonClient":
        """Log in; later ``call``s carry the session."""
        e = self._endpoint
        self.session = self.raw("session.login_with_password", e.user, e.password, "2.6", "tests")
        return self

    def call(self, method: str, *params: object) -> Any:
        """Call with the session as first parameter."""
        return self.raw(method, self.session, *params)

    def raw(self, method: str, *params: object) -> Any:
        """Call with exactly these parameters; raises XenAPI.Failure for an error."""
        self._next_id += 1
        call: dict[str, object] = {"method": method, "params": params, "id": self._next_id}
        if self._version == "2.0":
            call["jsonrpc"] = "2.0"
        self._connection.request("POST", "/jsonrpc", json.dumps(call))
        answer = json.loads(self._connection.getresponse().read())
        if answer.get("error"):
            error = answer["error"]
            raise XenAPI.Failure(
                error if isinstance(error, list) else [error["message"], *error.get("data", [])]
            )
        result = answer["result"]
        if isinstance(result, dict) and "Status" in result:
            if result["Status"] != "Success":
                raise XenAPI.Failure(result["ErrorDescription"])
            return result["Value"]
        return result


class UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self._path)
        connection.sock.settimeout(60)
        return connection


def children(process: int) -> list[int]:
    """List the direct children of a process."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found


def command_line(process: int) -> list[bytes]:
    """Give the words of a process's command line, empty when it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def eventually(condition: Callable[[], object], what: str, limit_s: float = 20.0) -> None:
    """Wait until a condition of another process holds; fails naming ``what`` after the limit.

    For what no event tells; answers of the server are awaited with event.from.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def running(
    *options: str, module: str = "xapi_py.supervisor", before: Sequence[str] = ()
) -> Iterator[RunningPool]:
    """A pool in a short-named folder (unix sockets allow 107 bytes), stopped and removed after."""
    with tempfile.TemporaryDirectory(prefix="xp-", dir="/tmp") as folder:
        pool = RunningPool(Path(folder), *options, module=module, before=before)
        try:
            yield pool
        finally:
            pool.stop()
