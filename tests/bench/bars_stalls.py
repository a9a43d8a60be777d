"""Bar 7: the longest turn of the server's event loop with many objects under mixed load."""

import random
import time
from collections.abc import Callable
from threading import Event, Thread

from tests.bench.measure import Line, Scale, memory_bytes, ms, percentile
from tests.bench.pool import BenchPool, bench_pool
from tests.bench.wire_client import WireClient, request, value

MAX_STALL_S = 0.050


class Load:
    """Client threads that go on until told to stop."""

    def __init__(self, pool: BenchPool) -> None:
        self._pool = pool
        self._over = Event()
        self._threads: list[Thread] = []
        self.latencies: list[float] = []
        self.counts: dict[str, int] = {}
        self.problems: list[str] = []

    def add(self, name: str, work: Callable[[WireClient], None], pause_s: float = 0.0) -> None:
        """Repeat ``work`` with a client of its own."""
        self._threads.append(Thread(target=self._repeat, args=(name, work, pause_s)))

    def _repeat(self, name: str, work: Callable[[WireClient], None], pause_s: float) -> None:
        client = self._pool.client()
        try:
            while not self._over.wait(pause_s):
                work(client)
                self.counts[name] = self.counts.get(name, 0) + 1
        except Exception as problem:
            self.problems.append(f"{name}: {problem!r}")

    def run(self, seconds: float) -> None:
        for thread in self._threads:
            thread.start()
        self._over.wait(seconds)
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self.problems:
            raise RuntimeError("; ".join(self.problems))


def mixed(pool: BenchPool, vms: list[str]) -> Load:
    """Reads, writes, new objects, listings of everything and event listeners."""
    load = Load(pool)
    chance = random.Random(7)

    def read(client: WireClient) -> None:
        begin = time.perf_counter()
        client.post(request("VM.get_record", client._session, chance.choice(vms)))
        load.latencies.append(time.perf_counter() - begin)

    def write(client: WireClient) -> None:
        client.call("VM.set_name_description", chance.choice(vms), f"{chance.random()}")

    def come_and_go(client: WireClient) -> None:
        client.call("task.destroy", client.call("task.create", "bench", "a task"))

    def follow(client: WireClient) -> None:
        token = getattr(client, "token", None)
        if token is None:
            token = value(client.post(request("event.from", client._session, ["task"], "", 1.0)))
            token = token["token"]
        answer = client.post(request("event.from", client._session, ["*"], token, 2.0))
        client.token = value(answer)["token"]  # type: ignore[attr-defined]

    def plain(method: str, *params: object) -> Callable[[WireClient], None]:
        return lambda client: client.post(request(method, client._session, *params)) and None

    load.add("get_record", read, 0.002)
    load.add("set", write, 0.005)
    load.add("task", come_and_go, 0.01)
    load.add("event.from", follow)
    load.add("get_all_records", plain("VM.get_all_records"), 1.0)
    load.add("get_all", plain("VM.get_all"), 0.5)
    where = 'field "name__label" = "bench 17" or field "power_state" = "Running"'
    load.add("where", plain("VM.get_all_records_where", where), 1.0)
    load.add("event.from everything", plain("event.from", ["*"], "", 1.0), 1.0)
    return load


def run(scale: Scale) -> list[Line]:
    """Measure bar 7."""
    with bench_pool(scale.stall_vms, watched=True) as pool:
        client = pool.client()
        vms = client.call("VM.get_all")
        load = mixed(pool, vms)
        pool.stalls()
        load.run(scale.stall_s)
        turns = pool.stalls()
        memory = memory_bytes(pool.pid("xapi"))
    longest = turns[0][0]
    done = ", ".join(f"{count} {name}" for name, count in sorted(load.counts.items()))
    what = f"longest turn of the event loop, {scale.stall_vms} VMs, {scale.stall_s:.0f} s of load"
    limit = f"<= {MAX_STALL_S * 1e3:.0f} ms"
    wall, cpu = max(w for _, w, _ in turns), max(c for _, _, c in turns)
    p50, p99 = percentile(load.latencies, 0.5), percentile(load.latencies, 0.99)
    return [
        Line("7", what, "", ms(longest), "", limit, longest <= MAX_STALL_S),
        Line("", "the same with the wait for a processor", "", ms(wall)),
        Line("", "the same, processor time only", "", ms(cpu)),
        Line("", "VM.get_record meanwhile: p50 and p99", ms(p50), ms(p99)),
        Line("", f"done: {done}", "", ""),
        Line("", "memory of the server after it", "", f"{memory / 1e6:.0f} MB"),
    ]
