"""Inside a lab machine: runs commands for the tests outside.  Standard library only.

One request a connection: a line of JSON, then ``input`` bytes.  The answer is frames: a kind
(``o`` output, ``e`` error output, ``x`` exit code, the last one), a length, the bytes.
Requests: ``{"op": "run", "command": "shell text" or [words], "input": N, "timeout": S}``,
``{"op": "put", "path": P, "mode": M, "input": N}``, ``{"op": "get", "path": P}`` and
``{"op": "ping"}``.
A command whose caller has gone, or that takes too long, is killed with all it started in its
process group; what a command leaves running with its output open does not hold the answer up.
"""

import json
import os
import selectors
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import time
from typing import IO, Any

CHUNK = 1 << 16
PORT = 7


class Request(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        request = json.loads(line)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            code = getattr(self, f"do_{request['op']}")(request)
        except OSError as error:
            self.send(b"e", f"lab agent: {error}\n".encode())
            code = 255
        self.send(b"x", str(code).encode())

    def send(self, kind: bytes, data: bytes) -> None:
        self.connection.sendall(struct.pack(">cI", kind, len(data)) + data)

    def do_ping(self, request: dict[str, Any]) -> int:
        self.send(b"o", b"pong")
        return 0

    def do_put(self, request: dict[str, Any]) -> int:
        path, left = request["path"], request["input"]
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        with open(path, "wb") as file:
            while left:
                data = self.rfile.read(min(CHUNK, left))
                if not data:
                    raise OSError("the caller went away")
                file.write(data)
                left -= len(data)
        os.chmod(path, request.get("mode", 0o644))
        return 0

    def do_get(self, request: dict[str, Any]) -> int:
        with open(request["path"], "rb") as file:
            while data := file.read(CHUNK):
                self.send(b"o", data)
        return 0

    def do_run(self, request: dict[str, Any]) -> int:
        command = request["command"]
        words = ["bash", "-c", command] if isinstance(command, str) else command
        data = self.rfile.read(request.get("input", 0))
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if data else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=request.get("cwd", "/root"),
            start_new_session=True,
        )
        try:
            return self.follow(child, data, time.monotonic() + request["timeout"])
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    pipe.close()

    def follow(self, child: "subprocess.Popen[bytes]", data: bytes, until: float) -> int:
        """Pass output on until the command has ended; its exit code, 124 when it took too long."""
        assert child.stdout and child.stderr
        pidfd = os.pidfd_open(child.pid)
        pipes = {child.stdout: b"o", child.stderr: b"e"}
        with selectors.DefaultSelector() as selector:
            for pipe in pipes:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ)
            selector.register(pidfd, selectors.EVENT_READ)
            selector.register(self.connection, selectors.EVENT_READ)
            if child.stdin:
                os.set_blocking(child.stdin.fileno(), False)
                selector.register(child.stdin, selectors.EVENT_WRITE)
            try:
                while (left := until - time.monotonic()) > 0:
                    for key, _ in selector.select(left):
                        if key.fileobj is child.stdin:
                            data = self.feed(child.stdin, data, selector)
                        elif key.fileobj in pipes:
                            self.pass_on(key.fileobj, pipes, selector)  # type: ignore[arg-type]
                        elif key.fileobj == self.connection:
                            if not self.connection.recv(1):
                                return 125  # nobody listens any more
                        else:
                            for pipe in list(pipes):
                                while self.pass_on(pipe, pipes, selector):
                                    pass
                            return child.wait()
                self.send(b"e", b"lab agent: the command took too long\n")
                return 124
            finally:
                os.close(pidfd)

    def feed(self, stdin: IO[bytes], data: bytes, selector: selectors.BaseSelector) -> bytes:
        try:
            data = data[os.write(stdin.fileno(), data[:CHUNK]) :]
        except BrokenPipeError:
            data = b""
        if not data:
            selector.unregister(stdin)
            stdin.close()
        return data

    def pass_on(
        self, pipe: IO[bytes], pipes: dict[IO[bytes], bytes], selector: selectors.BaseSelector
    ) -> bool:
        """Send what is there; false when there is nothing, now or ever."""
        if pipe not in pipes:
            return False
        try:
            data = os.read(pipe.fileno(), CHUNK)
        except BlockingIOError:
            return False
        if data:
            self.send(pipes[pipe], data)
            return True
        del pipes[pipe]
        selector.unregister(pipe)
        return False


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    with Server(("0.0.0.0", int(sys.argv[1]) if sys.argv[1:] else PORT), Request) as server:
        server.serve_forever()
