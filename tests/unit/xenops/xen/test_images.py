"""The daemon's half of saving, restoring and moving; the worker is a script."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred

from tests.unit.xenops.factories import UUID, begun, done, make_md, outcome
from xapi_py.base.rpc.errors import RpcError
from xenops import errors
from xenops.backends.contract import Migration, SavedMemory
from xenops.backends.xen.build import Ports
from xenops.backends.xen.images import Images
from xenops.backends.xen.migrations import Migrations
from xenops.backends.xen.worker import WorkerError
from xenops.bindings.builder import Loaded
from xenops.qmp.client import QmpLost

PAGES = 65536
Script = Callable[["FakeWorkers", Callable[[Mapping[str, Any]], Any]], Any]


class FakeWorkers:
    """Runs a script instead of a process; ``ask`` gives the daemon's answer to it."""

    def __init__(self) -> None:
        self.script: Script = lambda workers, ask: {}
        self.requests: list[tuple[str, Mapping[str, Any]]] = []
        self.forever: Deferred[Any] | None = None

    async def run(self, name: str, request: Mapping[str, Any], on_line: Any = None) -> Any:
        self.requests.append((name, request))

        def ask(message: Mapping[str, Any]) -> Any:
            answer = on_line(message)
            return done(answer) if hasattr(answer, "send") else answer

        found = self.script(self, ask)
        return await self.forever if self.forever is not None else found


class FakeModel:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: Path | None = None
        self.lost = False

    def state_path(self, domid: int) -> Path:
        return self.folder / f"qemu-{domid}.state"

    async def save_state(self, domid: int) -> Path | None:
        if self.lost:
            raise QmpLost("gone")
        return self.state

    async def log_dirty(self, domid: int, enable: bool) -> None:
        return None


@dataclass
class FakeBuild:
    finished: list[tuple[int, Loaded]] = field(default_factory=list)

    async def prepare(self, domid: int, vm: Any) -> Ports:
        return Ports(1, 2)

    async def finish(self, domid: int, vm: Any, ports: Ports, loaded: Loaded) -> None:
        self.finished.append((domid, loaded))


class Bench:
    def __init__(self, folder: Path) -> None:
        self.host = SimpleNamespace(state=folder, run_folder=folder)
        self.domains = SimpleNamespace(
            get=lambda domid: SimpleNamespace(vm=UUID, domain_type="pvh"),
            info=lambda domid: SimpleNamespace(total_pages=PAGES),
        )
        self.workers, self.model, self.build = FakeWorkers(), FakeModel(folder), FakeBuild()
        parts = (self.host, self.domains, self.build, self.workers, self.model)
        self.images = Images(*parts)  # type: ignore[arg-type]
        self.migrations = Migrations(*parts)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def fails(workers: FakeWorkers, ask: Any) -> Any:
    raise WorkerError("No space left on device", 28)


def test_an_image_says_what_it_is_of(bench: Bench) -> None:
    asked: list[Any] = []
    bench.workers.script = lambda workers, ask: asked.extend(
        ask({"do": step}) for step in ("suspend", "emulator", "progress")
    )
    saved = done(bench.images.save(7, "/dev/vg/image"))
    assert saved == SavedMemory(PAGES * 4096)
    assert asked == [True, "", None]
    name, request = bench.workers.requests[0]
    assert (name, request["path"], request["domid"]) == ("save", "/dev/vg/image", 7)
    assert orjson.loads(request["about"])["vm"] == UUID


def test_an_image_behind_a_socket(bench: Bench) -> None:
    done(bench.images.save(7, "nbd:unix:/run/s:exportname=v"))
    assert bench.workers.requests[0][1]["nbd"] == ["/run/s", "v"]


@pytest.mark.parametrize("path", ["/dev/full", ""])
def test_what_cannot_be_written_is_told_and_leaves_no_file(bench: Bench, path: str) -> None:
    bench.workers.script = fails
    with pytest.raises(RpcError, match="IO_error.*No space left"):
        done(bench.images.save(7, path))
    assert list(bench.host.state.iterdir()) == []


def test_an_emulator_that_is_gone_fails_the_save(bench: Bench) -> None:
    bench.model.lost = True
    bench.workers.script = lambda workers, ask: ask({"do": "emulator"})
    with pytest.raises(RpcError, match="IO_error.*gone"):
        done(bench.images.save(7, "/dev/vg/image"))


def test_memory_without_a_disk_of_its_own_goes_through_a_file(bench: Bench) -> None:
    saved = done(bench.images.save(7, ""))
    path = Path(str(saved.inline["file"]))
    assert path.stat().st_mode & 0o777 == 0o600
    bench.workers.script = lambda workers, ask: {"store_mfn": 5, "console_mfn": 6}
    done(bench.images.restore(8, make_md().vm, "", saved.inline))
    assert bench.build.finished == [(8, Loaded(5, 6))]
    assert not path.exists()


def test_what_is_no_image_is_told(bench: Bench) -> None:
    bench.workers.script = fails
    for path in ("/dev/vg/image", ""):
        with pytest.raises(RpcError, match="IO_error"):
            done(bench.images.restore(8, make_md().vm, path, {}))
    assert bench.build.finished == []


class Steps:
    """Both ends' steps; ``fail`` names the one that does."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail
        self.done: list[str] = []

    def _step(self, name: str) -> None:
        if name == self.fail:
            raise errors.failed_to_acknowledge_suspend_request()
        self.done.append(name)

    async def suspend(self) -> None:
        self._step("suspend")

    async def let_go(self) -> None:
        self._step("let_go")

    def progress(self, fraction: float) -> None:
        self.done.append(f"{fraction:g}")

    async def create(self, hello: Mapping[str, Any]) -> int:
        self._step("create")
        return 9

    async def run(self) -> None:
        self._step("run")


def source(workers: FakeWorkers, ask: Any) -> Any:
    """Do what a worker does that gives a guest away."""
    answers = [ask({"do": "log_dirty", "enable": True}), ask({"do": "progress", "percent": 50})]
    if not ask({"do": "suspend"}):
        return {"outcome": "here", "text": "the guest does not stop"}
    answers.append(ask({"do": "emulator"}))
    if not ask({"do": "let_go"}):
        return {"outcome": "here", "text": "the disks could not be given up"}
    assert answers == [True, None, ""]
    return {"outcome": "there"}


@pytest.mark.parametrize(
    ("fail", "outcome_is", "text"),
    [
        ("", "there", ""),
        ("suspend", "here", "Failed_to_acknowledge_suspend_request"),
        ("let_go", "here", "Failed_to_acknowledge_suspend_request"),
    ],
)
def test_a_source_reports_its_own_failures(
    bench: Bench, fail: str, outcome_is: str, text: str
) -> None:
    bench.workers.script = source
    steps = Steps(fail)
    result = done(bench.migrations.send(7, "tcp:h:1", {"token": "t"}, steps))
    assert (result.outcome, text in result.text) == (outcome_is, True)
    assert "0.5" in steps.done


@pytest.mark.parametrize(("handed_over", "outcome_is"), [(False, "here"), (True, "unknown")])
def test_a_worker_that_dies_decides_nothing_once_the_disks_are_given_up(
    bench: Bench, handed_over: bool, outcome_is: str
) -> None:
    def dies(workers: FakeWorkers, ask: Any) -> Any:
        if handed_over:
            ask({"do": "let_go"})
        raise WorkerError("signal 9")

    bench.workers.script = dies
    result = done(bench.migrations.send(7, "tcp:h:1", {}, Steps()))
    assert result == Migration(outcome_is, "signal 9")  # type: ignore[arg-type]


def test_a_target_is_done_as_soon_as_it_is_decided(bench: Bench) -> None:
    listening: list[str] = []
    bench.workers.forever = Deferred()

    def target(workers: FakeWorkers, ask: Any) -> None:
        ask({"do": "listening"})
        made = ask({"do": "create", "hello": {"memory_bytes": 1}})
        assert (made["domid"], made["store_port"]) == (9, 1)
        assert ask({"do": "finish", "store_mfn": 5, "console_mfn": 6}) == {}
        assert ask({"do": "run"}) == {}
        ask({"do": "ended", "running": True, "text": ""})

    bench.workers.script = target
    steps = Steps()
    taking = begun(bench.migrations.receive(make_md().vm, "t", steps, listening.append))
    assert outcome(taking) == Migration("there")
    assert (steps.done, bench.build.finished) == (["create", "run"], [(9, Loaded(5, 6))])
    assert listening == [str(bench.host.run_folder / f"receive-{UUID}.sock")]
    bench.workers.forever.callback({})


@pytest.mark.parametrize("fail", ["create", "run"])
def test_a_target_tells_the_other_end_why(bench: Bench, fail: str) -> None:
    told: list[Any] = []

    def target(workers: FakeWorkers, ask: Any) -> Any:
        told.append(ask({"do": fail, "hello": {}}))
        ask({"do": "ended", "running": False, "text": "why"})
        return {}

    bench.workers.script = target
    taking = bench.migrations.receive(make_md().vm, "t", Steps(fail), lambda path: None)
    assert done(taking) == Migration("here", "why")
    assert "Failed_to_acknowledge_suspend_request" in told[0]["failed"]


def test_a_target_whose_worker_dies_has_not_got_the_guest(bench: Bench) -> None:
    bench.workers.script = fails
    taking = bench.migrations.receive(make_md().vm, "t", Steps(), lambda path: None)
    assert done(taking) == Migration("here", "No space left on device")
