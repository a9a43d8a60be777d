"""Processes that emulate hardware, with a small stand-in for QEMU."""

import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.unit.xenops.factories import begun, outcome
from xenops.backends.xen import emulators

pytestmark = pytest.mark.integration

GREETER = """
import socket, sys
print("hello", flush=True)
listening = socket.socket(fileno=3)
peer, _ = listening.accept()
peer.sendall(b"welcome")
peer.recv(1)
"""
DEAF = """
import signal, socket
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listening = socket.socket(fileno=3)
listening.accept()[0].sendall(b"deaf")
signal.pause()
"""


class Readers(Clock):
    """The reading half of a reactor; time is the test's."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def until(self, there: Callable[[], object]) -> None:
        while not there():
            ready, _, _ = select.select(self.readers, [], [], 20)
            assert ready, "nothing happened"
            for reader in ready:
                reader.doRead()


def start(reactor: Readers, folder: Path, script: str) -> tuple[emulators.Emulator, socket.socket]:
    path = str(folder / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        arguments = ["-c", script]
        fds = {3: listening.fileno()}
        pid = emulators.spawn(sys.executable, "qemu-dm-7", arguments, fds, folder / "log")
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(20)
    peer.connect(path)
    return emulators.Emulator(reactor, pid), peer


def test_it_gets_the_socket_we_listen_on_and_tells_how_it_ends(tmp_path: Path) -> None:
    reactor, seen = Readers(), []
    process, peer = start(reactor, tmp_path, GREETER)
    process.on_end = seen.append
    assert peer.recv(7) == b"welcome"
    assert emulators.tail(tmp_path / "log") == "hello"
    peer.close()
    reactor.until(lambda: seen)
    assert (seen, process.outcome) == (["exit:0"], "exit:0")
    process.signal(signal.SIGKILL)  # nothing to hit any more


def test_a_killed_one_is_noticed(tmp_path: Path) -> None:
    reactor, seen = Readers(), []
    process, peer = start(reactor, tmp_path, GREETER)
    process.on_end = seen.append
    process.signal(signal.SIGKILL)
    reactor.until(lambda: seen)
    assert seen == ["signal:9"]
    peer.close()


def test_one_that_will_not_end_is_killed_in_time(tmp_path: Path) -> None:
    reactor = Readers()
    process, peer = start(reactor, tmp_path, DEAF)
    assert peer.recv(4) == b"deaf"
    stopping = begun(process.stop())
    reactor.advance(emulators.TERMINATE_S + 1)
    reactor.until(lambda: stopping.called)
    assert outcome(stopping) is None
    assert process.outcome == "signal:9"
    peer.close()


def test_a_new_life_of_the_daemon_finds_it_by_name(tmp_path: Path) -> None:
    reactor = Readers()
    process, peer = start(reactor, tmp_path, GREETER)
    assert peer.recv(7) == b"welcome"
    assert emulators.adopt(reactor, process.pid, "qemu-dm-8") is None
    again = emulators.adopt(reactor, process.pid, "qemu-dm-7")
    assert again is not None
    stopping = [begun(again.stop()), begun(process.stop())]
    reactor.until(lambda: all(work.called for work in stopping))
    assert emulators.adopt(reactor, process.pid, "qemu-dm-7") is None
    peer.close()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        emulators.spawn(str(tmp_path / "absent"), "x", [], {}, tmp_path / "log")
