"""Save, restore, send and receive, as a worker process does them; blocks.

``say`` tells the daemon and gives its answer.  What a guest has made is only
read here, never in the daemon.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from ocaml_compat.suspend_image import ImageError
from xenops.backends.xen.stream import image
from xenops.backends.xen.stream.convergence import Limits, policy
from xenops.backends.xen.stream.link import TIMEOUT_S, Link, LinkLost, connect
from xenops.bindings.memory_stream import Restored, SaveSteps

Say = Callable[[Mapping[str, Any]], Any]
Answer = Mapping[str, Any]
REPORT_EVERY_S: Final = 0.5
WAIT_FOR_PEER_S: Final = 300.0
RESOLVE_S: Final = 60.0
"""How long a source that does not know the outcome asks for it."""


class Memory(Protocol):
    """The hypervisor's half."""

    def save(self, domid: int, fd: int, steps: SaveSteps, *, live: bool) -> None: ...

    def restore(self, domid: int, fd: int, store_port: int, console_port: int) -> Restored: ...


class Steps:
    """What a save asks, answered by limits and by the daemon."""

    def __init__(self, say: Say, memory_bytes: int, limits: Limits) -> None:
        self._say = say
        self._memory_bytes = memory_bytes
        self._limits = limits
        self._began = time.monotonic()
        self._reported = self._began

    def suspend(self) -> bool:
        return bool(self._say({"do": "suspend"}))

    def policy(self, iteration: int, written: int, dirty: int) -> str:
        elapsed_s = time.monotonic() - self._began
        return policy(self._limits, iteration, written, dirty, self._memory_bytes, elapsed_s)

    def log_dirty(self, enable: bool) -> bool:
        return bool(self._say({"do": "log_dirty", "enable": enable}))

    def progress(self, percent: int) -> None:
        now = time.monotonic()
        if now - self._reported >= REPORT_EVERY_S:
            self._reported = now
            self._say({"do": "progress", "percent": percent})


def save(memory: Memory, request: Mapping[str, Any], say: Say) -> Answer:
    """Write the image of a stopped domain."""
    steps = Steps(say, request["memory_bytes"], Limits())
    data = image.open_data(request["path"], _export(request), writing=True)
    try:
        ours = image.write_image(
            data.fd,
            request["about"].encode(),
            lambda fd: memory.save(request["domid"], fd, steps, live=False),
            lambda: str(say({"do": "emulator"}) or ""),
        )
        data.finish()
    finally:
        data.close()
    return {"overhead_bytes": ours}


def restore(memory: Memory, request: Mapping[str, Any], say: Say) -> Answer:
    """Read an image into an empty domain."""
    found: list[Restored] = []
    data = image.open_data(request["path"], _export(request), writing=False)

    def load(fd: int) -> None:
        found.append(
            memory.restore(request["domid"], fd, request["store_port"], request["console_port"])
        )

    try:
        about = image.read_image(data.fd, load, request["emulator"])
    except ImageError as problem:
        raise OSError(errno.EINVAL, str(problem)) from problem
    finally:
        data.close()
    return {
        "about": about.decode(errors="replace"),
        "store_mfn": found[0].store_mfn,
        "console_mfn": found[0].console_mfn,
    }


def _export(request: Mapping[str, Any]) -> tuple[str, str] | None:
    export = request.get("nbd")
    return None if export is None else (export[0], export[1])


def send(memory: Memory, request: Mapping[str, Any], say: Say) -> Answer:
    """Give a running domain to another host.

    The result is {"outcome"}: "there" when it runs on the other host and is to
    be destroyed here, "here" when it is to go on here (with "text", why),
    "unknown" when the other host took the last step or not, and cannot be
    asked: the domain must then stay as it is.
    """
    handed_over = False
    try:
        link = connect(request["address"])
        try:
            link.send({"kind": "hello", **request["hello"]})
            link.expect("ready", WAIT_FOR_PEER_S)
            _send_memory(memory, link, request, say)
            link.expect("restored", WAIT_FOR_PEER_S)
            if not say({"do": "let_go"}):
                raise OSError(0, "the disks could not be given up")
            handed_over = True
            link.send({"kind": "handover"})
            link.expect("running", WAIT_FOR_PEER_S)
        finally:
            link.close()
    except LinkLost as problem:
        return _resolve(request, str(problem)) if handed_over else _here(problem)
    except OSError as problem:
        return _here(problem)
    return {"outcome": "there"}


def _here(problem: OSError) -> Answer:
    return {"outcome": "here", "text": problem.strerror or str(problem)}


def _send_memory(memory: Memory, link: Link, request: Mapping[str, Any], say: Say) -> None:
    limits = Limits(**request.get("limits", {}))
    steps = Steps(say, request["memory_bytes"], limits)
    fd = os.dup(link.for_memory())
    try:
        image.write_image(
            fd,
            request["about"].encode(),
            lambda stream: memory.save(request["domid"], stream, steps, live=True),
            lambda: str(say({"do": "emulator"}) or ""),
        )
    finally:
        os.close(fd)
        link.for_messages()


def _resolve(request: Mapping[str, Any], text: str) -> Answer:
    """Ask the other host what became of the guest, until it answers or the time is over."""
    deadline = time.monotonic() + float(request.get("resolve_s", RESOLVE_S))
    while True:
        try:
            link = connect(request["address"])
            try:
                link.send({"kind": "outcome?", "token": request["hello"]["token"]})
                answer = link.expect("outcome")
                return (
                    {"outcome": "there"}
                    if answer["running"]
                    else {
                        "outcome": "here",
                        "text": text,
                    }
                )
            finally:
                link.close()
        except OSError as problem:
            if time.monotonic() >= deadline:
                return {"outcome": "unknown", "text": f"{text}; {problem}"}
            time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))


def receive(memory: Memory, request: Mapping[str, Any], say: Say) -> Answer:
    """Take a domain over from another host; listens on ``request["path"]``.

    The domain runs here if and only if this gives {"running": true}.  Stays
    for ``linger_s`` to tell a source that lost the link how it ended.
    """
    with socket.socket(socket.AF_UNIX) as listening:
        image.remove(request["path"])
        listening.bind(request["path"])
        os.chmod(request["path"], 0o600)
        listening.listen(4)
        listening.settimeout(WAIT_FOR_PEER_S)
        try:
            say({"do": "listening"})
            running, text = _take_over(memory, listening, request, say)
            say({"do": "ended", "running": running, "text": text})
            _tell_outcome(listening, request, running)
        finally:
            image.remove(request["path"])
    return {"running": running, "text": text}


def _take_over(
    memory: Memory, listening: socket.socket, request: Mapping[str, Any], say: Say
) -> tuple[bool, str]:
    link: Link | None = None
    try:
        peer, _ = listening.accept()
        link = Link(peer)
        hello = link.expect("hello")
        if hello.get("token") != request["token"]:
            raise LinkLost(0, "the wrong guest")
        made = _done(say({"do": "create", "hello": hello}))
        link.send({"kind": "ready"})
        restored = _receive_memory(memory, link, {**request, **made})
        _done(say({"do": "finish", **restored}))
        link.send({"kind": "restored"})
        link.expect("handover", WAIT_FOR_PEER_S)
        _done(say({"do": "run"}))
    except (OSError, ImageError) as problem:
        text = getattr(problem, "strerror", None) or str(problem)
        _tell(link, {"kind": "failed", "text": text})
        return False, text
    # It runs here from now on, whether the other end hears of it or not.
    _tell(link, {"kind": "running"})
    return True, ""


def _done(answer: Any) -> Mapping[str, Any]:
    """Check the daemon's answer to a step; none comes from a daemon that has ended."""
    if not isinstance(answer, dict):
        raise OSError(0, "the daemon has ended")
    if answer.get("failed"):
        raise OSError(0, str(answer["failed"]))
    return answer


def _receive_memory(memory: Memory, link: Link, request: Mapping[str, Any]) -> dict[str, Any]:
    found: list[Restored] = []

    def load(fd: int) -> None:
        ports = request["store_port"], request["console_port"]
        found.append(memory.restore(request["domid"], fd, *ports))

    fd = os.dup(link.for_memory())
    try:
        image.read_image(fd, load, request["emulator"])
    finally:
        os.close(fd)
        link.for_messages()
    return {"store_mfn": found[0].store_mfn, "console_mfn": found[0].console_mfn}


def _tell(link: Link | None, message: Mapping[str, Any]) -> None:
    if link is not None:
        try:
            link.send(message)
        except LinkLost:
            pass
        finally:
            link.close()


def _tell_outcome(listening: socket.socket, request: Mapping[str, Any], running: bool) -> None:
    """Answer those who ask how it ended, for a while."""
    deadline = time.monotonic() + float(request.get("linger_s", RESOLVE_S + TIMEOUT_S))
    while (left := deadline - time.monotonic()) > 0:
        listening.settimeout(left)
        try:
            peer, _ = listening.accept()
        except TimeoutError:
            return
        link = Link(peer)
        try:
            asked = link.expect("outcome?")
            if asked.get("token") == request["token"]:
                link.send({"kind": "outcome", "running": running})
        except OSError:
            continue
        finally:
            link.close()
