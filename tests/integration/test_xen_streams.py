"""Images written and read, and guests moved between two ends; cut at every place."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from xenops.backends.xen.stream import work
from xenops.bindings.memory_stream import Restored, SaveSteps

pytestmark = pytest.mark.integration

GUEST = b"memory of the guest " * 5000


class FakeMemory:
    """libxc: a stream with its own end; a guest that is asked to stop on the way."""

    def __init__(self, *, hvm: bool = False) -> None:
        self.hvm = hvm
        self.loaded = b""

    def save(self, domid: int, fd: int, steps: SaveSteps, *, live: bool) -> None:
        if live and self.hvm:
            assert steps.log_dirty(True)
        if live:
            assert steps.policy(1, 10, 5) == "stop"
        if not steps.suspend():
            raise OSError(0, "the guest does not stop")
        data = len(GUEST).to_bytes(8, "little") + GUEST
        while data:
            data = data[os.write(fd, data) :]

    def restore(self, domid: int, fd: int, store_port: int, console_port: int) -> Restored:
        def read(size: int) -> bytes:
            parts = b""
            while len(parts) < size:
                part = os.read(fd, size - len(parts))
                if not part:
                    raise OSError(5, "the stream ended")
                parts += part
            return parts

        self.loaded = read(int.from_bytes(read(8), "little"))
        return Restored(store_port + 1, console_port + 1)


class Told:
    """The daemon: remembers what it was asked, answers as it is told to."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"suspend": True, "log_dirty": True, "let_go": True, **answers}
        self.asked: list[str] = []

    def __call__(self, message: Mapping[str, Any]) -> Any:
        self.asked.append(message["do"])
        answer = self.answers.get(message["do"])
        return answer(message) if callable(answer) else answer


def request(folder: Path, **more: Any) -> dict[str, Any]:
    known = {"domid": 7, "memory_bytes": 1 << 20, "about": "{}", "path": str(folder / "image")}
    ports = {"store_port": 1, "console_port": 2, "emulator": str(folder / "emulator")}
    return {**known, **ports, **more}


@pytest.mark.parametrize("state", ["", "state of the hardware"])
def test_memory_comes_back_from_an_image(tmp_path: Path, state: str) -> None:
    (tmp_path / "image").write_bytes(bytes(1000))
    if state:
        (tmp_path / "saved").write_text(state)
    say = Told(emulator=str(tmp_path / "saved") if state else "")
    work.save(FakeMemory(), request(tmp_path, about='{"vm": "x"}'), say)
    assert say.asked == ["suspend", "emulator"]
    memory = FakeMemory()
    found = work.restore(memory, request(tmp_path), Told())
    assert found == {"about": '{"vm": "x"}', "store_mfn": 2, "console_mfn": 3}
    assert memory.loaded == GUEST
    if state:
        assert (tmp_path / "emulator").read_text() == state
        assert (tmp_path / "emulator").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [0, 5, 15, 20, 40, 60, 1000, -5, -16])
def test_a_damaged_image_is_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "image").touch()
    work.save(FakeMemory(), request(tmp_path), Told(emulator=""))
    whole = (tmp_path / "image").read_bytes()
    (tmp_path / "image").write_bytes(whole[:cut])
    with pytest.raises(OSError, match="image|stream ended"):
        work.restore(FakeMemory(), request(tmp_path), Told())


def test_an_image_that_is_not_there_and_one_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        work.restore(FakeMemory(), request(tmp_path), Told())
    (tmp_path / "image").write_bytes(b"\0" * 4096)
    with pytest.raises(OSError, match="not a suspend image"):
        work.restore(FakeMemory(), request(tmp_path), Told())


def test_a_full_disk_is_told() -> None:
    full = request(Path("/tmp"), path="/dev/full")
    with pytest.raises(OSError, match="No space left"):
        work.save(FakeMemory(), full, Told(emulator=""))


class Cut:
    """A wire between the two ends that breaks after so many messages in one direction."""

    def __init__(
        self, folder: Path, *, from_source: int = -1, from_target: int = -1, once: bool = False
    ) -> None:
        self._once = once
        self.address = str(folder / "wire")
        self._target = str(folder / "target")
        self._limits = (from_source, from_target)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.address)
        self._listening.listen(4)
        self.first = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listening.accept()
            if self._once and not self.first:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                continue
            limits = self._limits if self.first else (-1, -1)
            self.first = False
            for a, b, limit in ((near, far, limits[0]), (far, near, limits[1])):
                threading.Thread(target=self._carry, args=(a, b, limit), daemon=True).start()

    def _carry(self, a: socket.socket, b: socket.socket, limit: int) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := a.recv(65536 if limit < 0 else max(1, min(65536, limit - passed))):
                b.sendall(data)
                passed += len(data)
                if 0 <= limit <= passed:
                    break
        for end in (a, b):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Move:
    """Both ends of one migration; where the guest runs is what they agree on."""

    def __init__(self, folder: Path, *, wire: Cut | None = None, **answers: Any) -> None:
        self.folder = folder
        listening = threading.Event()
        self.said = Told(emulator="", **answers)
        ports = {"domid": 9, "store_port": 1, "console_port": 2}
        made = {"create": ports, "finish": {}, "run": {}, **answers}
        self.heard = Told(listening=lambda message: listening.set(), **made)
        self.memory = FakeMemory()
        self.taken: dict[str, Any] = {}
        path, hello = str(folder / "target"), {"token": "t", "vm": "x"}
        taking = request(folder, path=path, token="t", linger_s=0.3)
        thread = threading.Thread(target=self._take, args=(taking,))
        thread.start()
        assert listening.wait(10)
        address = f"unix:{wire.address if wire else path}"
        giving = request(folder, address=address, hello=hello, resolve_s=0.2)
        self.given = work.send(FakeMemory(hvm=True), giving, self.said)
        thread.join(20)
        assert not thread.is_alive()

    def _take(self, taking: dict[str, Any]) -> None:
        self.taken = dict(work.receive(self.memory, taking, self.heard))


def test_a_guest_moves(tmp_path: Path) -> None:
    move = Move(tmp_path)
    assert (move.given["outcome"], move.taken["running"]) == ("there", True)
    assert move.memory.loaded == GUEST
    assert move.said.asked == ["log_dirty", "suspend", "emulator", "let_go"]
    assert move.heard.asked == ["listening", "create", "finish", "run", "ended"]


@pytest.mark.parametrize("step", ["create", "finish", "run"])
def test_a_target_that_fails_leaves_the_guest_where_it_is(tmp_path: Path, step: str) -> None:
    move = Move(tmp_path, **{step: {"failed": "not enough memory"}})
    assert move.given == {"outcome": "here", "text": "not enough memory"}
    assert move.taken == {"running": False, "text": "not enough memory"}


def test_disks_that_cannot_be_given_up_keep_the_guest(tmp_path: Path) -> None:
    move = Move(tmp_path, let_go=None)
    assert move.given == {"outcome": "here", "text": "the disks could not be given up"}
    assert move.taken["running"] is False


@pytest.mark.parametrize("step", ["create", "finish", "run"])
def test_a_daemon_that_ends_on_the_way_does_not_get_the_guest(tmp_path: Path, step: str) -> None:
    move = Move(tmp_path, **{step: None})
    assert (move.given["outcome"], move.taken["running"]) == ("here", False)


def test_a_guest_that_does_not_stop_stays(tmp_path: Path) -> None:
    move = Move(tmp_path, suspend=False)
    assert move.given == {"outcome": "here", "text": "the guest does not stop"}
    assert move.taken["running"] is False


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_link_cut_in_the_memory_leaves_the_guest_where_it_is(
    tmp_path: Path, share: float
) -> None:
    wire = Cut(tmp_path, from_source=int(share * len(GUEST)))
    move = Move(tmp_path, wire=wire)
    assert (move.given["outcome"], move.taken["running"]) == ("here", False)


@pytest.mark.parametrize("taken", [*range(0, 80, 7), 39, 40, 41, 60, 61, 62, 63])
def test_a_link_cut_at_any_answer_leaves_exactly_one_guest(tmp_path: Path, taken: int) -> None:
    wire = Cut(tmp_path, from_target=taken)
    move = Move(tmp_path, wire=wire)
    here, there = move.given["outcome"] == "here", move.taken["running"]
    assert move.given["outcome"] in ("here", "there")
    assert here is not there


def test_a_target_that_is_gone_for_good_leaves_it_undecided(tmp_path: Path) -> None:
    """The source knows that it handed over, and nobody can be asked: it keeps the guest stopped."""
    wire = Cut(tmp_path, from_target=62, once=True)
    move = Move(tmp_path, wire=wire)
    assert (move.given["outcome"], move.taken["running"]) == ("unknown", True)


def test_strangers_are_not_taken_in(tmp_path: Path) -> None:
    listening, heard = threading.Event(), Told()
    heard.answers["listening"] = lambda message: listening.set()
    taken: list[Any] = []
    taking = request(tmp_path, path=str(tmp_path / "target"), token="t", linger_s=0.1)
    thread = threading.Thread(
        target=lambda: taken.append(work.receive(FakeMemory(), taking, heard))
    )
    thread.start()
    assert listening.wait(10)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(tmp_path / "target"))
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        stranger.shutdown(socket.SHUT_WR)
        thread.join(20)
    assert taken[0]["running"] is False
    assert heard.asked == ["listening", "ended"]
    assert not (tmp_path / "target").exists()


@pytest.fixture
def export(tmp_path: Path) -> Iterator[list[str]]:
    """A disk that is reached over NBD only: the socket and the name of the export."""
    if shutil.which("qemu-nbd") is None:
        pytest.skip("needs qemu-nbd (Debian: qemu-utils)")
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    path = str(tmp_path / "nbd")
    command = ["qemu-nbd", "-t", "-f", "raw", "-x", "v", "-k", path, str(tmp_path / "disk")]
    with subprocess.Popen(command) as server:
        try:
            while not os.path.exists(path):
                assert server.poll() is None
                time.sleep(0.01)
            yield [path, "v"]
        finally:
            server.terminate()


def test_an_image_on_a_disk_behind_a_socket(tmp_path: Path, export: list[str]) -> None:
    (tmp_path / "saved").write_bytes(b"hardware" * 1000)
    say = Told(emulator=str(tmp_path / "saved"))
    work.save(FakeMemory(), request(tmp_path, nbd=export), say)
    memory = FakeMemory()
    found = work.restore(memory, request(tmp_path, nbd=export), Told())
    assert (memory.loaded, found["store_mfn"]) == (GUEST, 2)
    assert (tmp_path / "emulator").read_bytes() == b"hardware" * 1000


def test_a_disk_behind_a_socket_that_is_too_small(tmp_path: Path, export: list[str]) -> None:
    class Large(FakeMemory):
        def save(self, domid: int, fd: int, steps: SaveSteps, *, live: bool) -> None:
            for _ in range(40):
                os.write(fd, bytes(60_000))

    with pytest.raises(OSError, match="No space left|Broken pipe"):
        work.save(Large(), request(tmp_path, nbd=export), Told(emulator=""))


def test_a_disk_behind_a_socket_without_an_image(tmp_path: Path, export: list[str]) -> None:
    with pytest.raises(OSError, match="not a suspend image"):
        work.restore(FakeMemory(), request(tmp_path, nbd=export), Told())
