"""The xenstore client on a real xenstored, and on the one in memory that unit tests use.

The real one needs no Xen: it is started with a folder of its own.
"""

import os
import shutil
import signal
import socket as socket_module
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.integration.running_pool import eventually
from tests.unit.xenops.xenstore.memory_server import MemoryXenStore
from xenops.xenstore.client import Transaction, XenStore
from xenops.xenstore.errors import Conflict, NoEntry, StoreError, StoreLost, StoreTimeout
from xenops.xenstore.transport import dial


@dataclass
class Bench:
    """A xenstored; ``client`` gives one more connection, ``stop`` kills it."""

    client: Callable[[], Any]
    stop: Callable[[], None]


@asynccontextmanager
async def in_memory(folder: Path) -> AsyncIterator[Bench]:
    server = MemoryXenStore()
    made: list[XenStore] = []

    async def client() -> XenStore:
        store = XenStore(reactor, server.dial)  # type: ignore[arg-type]
        await store.open()
        made.append(store)
        return store

    def stop() -> None:
        server.refuse_connections = 1000
        server.lose_connections()

    yield Bench(client, stop)
    for store in made:
        store.close()


def answers(path: Path) -> bool:
    with socket_module.socket(socket_module.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Bench]:
    programs = sorted(Path("/usr/lib").glob("xen-*/bin/xenstored"))
    if not programs:
        pytest.skip("no xenstored: apt-get install xen-utils-4.17")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for what lets xenstored run without Xen")
    source, library = Path(__file__).with_name("xenstored_without_xen.c"), folder / "without.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    (folder / "xsd_port").write_text("3")
    (folder / "xsd_kva").write_bytes(bytes(4096))
    socket = folder / "socket"
    environment = os.environ | {
        "XENSTORED_RUNDIR": str(folder),
        "XENSTORED_PATH": str(socket),
        "LD_PRELOAD": str(library),
    }
    process = subprocess.Popen([str(programs[-1]), "-N"], env=environment)
    eventually(lambda: answers(socket) or process.poll() is not None, "xenstored answers")
    made: list[XenStore] = []

    async def client() -> XenStore:
        store = XenStore(reactor, dial(reactor, str(socket)))  # type: ignore[arg-type]
        await store.open()
        made.append(store)
        return store

    def stop() -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    try:
        yield Bench(client, stop)
    finally:
        for store in made:
            store.close()
        stop()


SERVERS = [pytest.param(in_memory, id="memory"), pytest.param(real, id="xenstored")]
each = pytest.mark.parametrize("server", SERVERS)
run = pytest_twisted.ensureDeferred


@each
@run
async def test_values_are_what_was_written(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store = await bench.client()
        values = {"/a/b": "1", "/a/c": "", "/a/d-e": "ünï\udcff", "/big": "x" * 2000}
        await store.write_many(values)
        assert await store.read_many([*values, "/nothing"]) == values
        assert await store.read("/a") == ""
        assert sorted(await store.directory("/a")) == ["b", "c", "d-e"]
        assert await store.tree("/a") == {"b": "1", "c": "", "d-e": "ünï\udcff"}
        with pytest.raises(NoEntry):
            await store.read("/nothing")
        with pytest.raises(NoEntry):
            await store.directory("/nothing")
        assert await store.read_or("/nothing", "x") == "x"
        assert await store.tree("/nothing") == {}


@each
@run
async def test_removal_is_recursive_and_may_be_repeated(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store = await bench.client()
        await store.write_many({"/a/b/c": "1", "/a/d": "2"})
        await store.remove_many(["/a/b", "/a/b", "/x/y/z"])
        assert await store.tree("/a") == {"d": "2"}


@each
@run
async def test_a_directory_larger_than_a_message(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store = await bench.client()
        names = [f"child-with-a-long-name-{n:04}" for n in range(600)]
        await store.write_many({f"/top/{name}": "" for name in names})
        assert sorted(await store.directory("/top")) == names


@each
@run
async def test_permissions(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store = await bench.client()
        await store.mkdir("/home")
        await store.set_permissions("/home", ("n0", "r5"))
        assert await store.get_permissions("/home") == ("n0", "r5")
        await store.write("/home/below", "1")
        assert await store.get_permissions("/home/below") == ("n0", "r5")


@each
@run
async def test_what_does_not_fit_is_refused_here(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store = await bench.client()
        for path, value in (("/x", "y" * 4096), ("/" + "p" * 3100, ""), ("/a\0b", "1")):
            with pytest.raises(StoreError):
                await store.write(path, value)
        await store.write("/x", "good")
        assert await store.read("/x") == "good"


@each
@run
async def test_a_transaction_is_seen_whole_or_not_at_all(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store, other = await bench.client(), await bench.client()
        await store.write_many({"/old/x": "1", "/t/a": "0"})
        seen: list[str | None] = []

        async def change(tx: Transaction) -> str:
            await tx.remove("/old")
            await tx.write_many({"/t/a": "1", "/t/b": "2", "/new/deep/c": "3"})
            await tx.set_permissions("/new", ("n7",))
            seen.append(await other.read_or("/t/a"))
            return await tx.read("/t/b")

        assert await store.transaction(change) == "2"
        assert seen == ["0"]
        assert await other.tree("/t") == {"a": "1", "b": "2"}
        assert await other.tree("/new") == {"deep": "", "deep/c": "3"}
        assert await other.get_permissions("/new") == ("n7",)
        assert await other.read_or("/old/x") is None

        async def stumble(tx: Transaction) -> None:
            await tx.write("/t/a", "9")
            raise LookupError

        with pytest.raises(LookupError):
            await store.transaction(stumble)
        assert await other.read("/t/a") == "1"


@each
@run
async def test_a_transaction_that_met_a_change_is_run_again(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store, other = await bench.client(), await bench.client()
        await store.write("/count", "0")
        meets = 3
        runs = 0

        async def add_one(tx: Transaction) -> None:
            nonlocal meets, runs
            runs += 1
            value = int(await tx.read("/count"))
            if meets:
                meets -= 1
                await other.write("/count", str(value + 10))
            await tx.write("/count", str(value + 1))

        await store.transaction(add_one)
        assert (await store.read("/count"), runs) == ("31", 4)
        meets = 10_000
        with pytest.raises(Conflict):
            await store.transaction(add_one)


@each
@run
async def test_watches_report_changes_below_them(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store, other = await bench.client(), await bench.client()
        events: list[str] = []
        watch = store.watch("/w", events.append)
        await store.read_or("/w")
        assert events == ["/w"]
        await other.write("/w/a/b", "1")
        await store.wait_for("/w/a/b", lambda value: value == "1", 5)
        await other.remove("/w/a")
        await store.wait_for("/w/a", lambda value: value is None, 5)
        assert events == ["/w", "/w/a/b", "/w/a"]
        watch.stop()
        watch.stop()
        await other.write("/w/c", "1")
        await store.read("/w/c")
        assert len(events) == 3


@each
@run
async def test_waiting_ends_with_the_value_or_the_time(server: Any, tmp_path: Path) -> None:
    async with server(tmp_path) as bench:
        store, other = await bench.client(), await bench.client()
        reactor.callLater(0.02, other.write, "/dev/state", "4")  # type: ignore[attr-defined]
        assert await store.wait_for("/dev/state", lambda value: value == "4", 5) == "4"
        with pytest.raises(StoreTimeout):
            await store.wait_for("/dev/state", lambda value: value == "6", 0.05)


@each
@run
async def test_everybody_who_waits_hears_that_xenstored_is_gone(
    server: Any, tmp_path: Path
) -> None:
    async with server(tmp_path) as bench:
        store = await bench.client()
        reactor.callLater(0.02, bench.stop)  # type: ignore[attr-defined]
        with pytest.raises(StoreLost):
            await store.wait_for("/never", lambda value: value is not None, 10)
        with pytest.raises(StoreLost):
            await store.read("/x")


@run
async def test_introducing_a_domain_is_told_to_watches(tmp_path: Path) -> None:
    async with in_memory(tmp_path) as bench:  # the real one asks Xen about the domain
        store = await bench.client()
        events: list[str] = []
        store.watch("@introduceDomain", events.append)
        store.watch("@releaseDomain", events.append)
        await store.introduce(7, 1234, 3)
        assert await store.is_introduced(7)
        assert await store.get_domain_path(7) == "/local/domain/7"
        await store.release(7)
        assert not await store.is_introduced(7)
        assert events == ["@introduceDomain", "@releaseDomain"] * 2
