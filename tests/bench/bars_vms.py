"""Bars 4 and 5: starting VMs through every process, and the same beside many others."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.measure import Line, Scale, compare, cpu_s, ms, percentile
from tests.bench.pool import BenchPool, bench_pool
from tests.bench.wire_client import WireClient, request, value

MAX_CPU_S = 0.010
MIN_RATE = 100.0
MAX_GROWTH = 1.2


def make_vms(client: WireClient, count: int) -> list[str]:
    """Clone halted VMs without devices, small enough to run all at once."""
    (template,) = client.call("VM.get_by_name_label", "Other install media")
    made = []
    for number in range(count):
        vm = client.call("VM.clone", template, f"started {number}")
        client.call("VM.set_is_a_template", vm, False)
        made.append(vm)
    return made


def finish(client: WireClient, tasks: list[str]) -> None:
    """Wait until tasks are over.  RuntimeError with the first failure."""
    waiting = set(tasks)
    token = ""
    while waiting:
        answer = value(client.post(request("event.from", client._session, ["task"], token, 60.0)))
        token = answer["token"]
        for event in answer["events"]:
            state = event.get("snapshot", {}).get("status")
            if event["ref"] in waiting and state in ("failure", "cancelled"):
                raise RuntimeError(str(event["snapshot"]["error_info"]))
            if state == "success" or event["operation"] == "del":
                waiting.discard(event["ref"])


def many_starts(scale: Scale) -> list[Line]:
    """Bar 4: many Async.VM.start at once; processor time of all processes together."""
    with bench_pool() as pool:
        client = pool.client()
        vms = make_vms(client, scale.starts)
        per_vm: dict[str, tuple[float, float, dict[str, float]]] = {}
        for name, call, params in (
            ("start", "Async.VM.start", (False, False)),
            ("hard_shutdown", "Async.VM.hard_shutdown", ()),
        ):
            spent = {n: cpu_s(pool.pid(n)) for n in pool.names}
            begin = time.perf_counter()
            finish(client, [client.call(call, vm, *params) for vm in vms])
            wall = time.perf_counter() - begin
            each = {n: (cpu_s(pool.pid(n)) - spent[n]) / len(vms) for n in pool.names}
            per_vm[name] = (sum(each.values()), len(vms) / wall, each)
    lines = []
    for name, (cpu, rate, each) in per_vm.items():
        shares = ", ".join(f"{n} {ms(s)}" for n, s in each.items() if s >= 1e-4)
        what = f"{len(vms)} x Async.VM.{name}: CPU per VM ({shares})"
        bar = "4" if name == "start" else ""
        met = (cpu <= MAX_CPU_S, rate >= MIN_RATE) if bar else (None, None)
        limits = ("<= 10 ms", ">= 100/s") if bar else ("", "")
        lines += [
            Line(bar, what, "", ms(cpu), "", limits[0], met[0]),
            Line(
                bar,
                "the same: VMs a second (real server: 20 starts, 40 shutdowns)",
                "",
                f"{rate:.0f}/s",
                "",
                limits[1],
                met[1],
            ),
        ]
    return lines


@contextmanager
def _started(pool: BenchPool) -> Iterator[tuple[WireClient, str, str]]:
    """A VM to start and stop, and an unplugged disk of another that runs."""
    client = pool.client()
    first, second = make_vms(client, 2)
    none: dict[str, str] = {}
    sr = client.call("pool.get_default_SR", client.call("pool.get_all")[0])
    disk = {
        "name_label": "d", "name_description": "", "SR": sr, "virtual_size": str(1 << 30),
        "type": "user", "sharable": False, "read_only": False, "other_config": none,
    }  # fmt: skip
    vbd = {
        "VM": second, "VDI": client.call("VDI.create", disk), "userdevice": "3", "mode": "RW",
        "bootable": False, "type": "Disk", "unpluggable": True, "empty": False,
        "other_config": none, "qos_algorithm_type": "", "qos_algorithm_params": none,
    }  # fmt: skip
    plugged = client.call("VBD.create", vbd)
    client.call("VM.start", second, False, False)
    deadline = time.monotonic() + 60
    while "unplug" not in client.call("VBD.get_allowed_operations", plugged):
        if time.monotonic() > deadline:
            raise TimeoutError("the guest's drivers do not come up")
        time.sleep(0.1)
    client.call("VBD.unplug", plugged)
    yield client, first, plugged
    client.close()


def flatness(scale: Scale) -> list[Line]:
    """Bar 5: the same operations with few and with many VMs in the database."""
    few, many = scale.flat
    repeat = max(2, scale.starts // 50)
    lines = []
    with (
        bench_pool(few) as small,
        bench_pool(many) as large,
        _started(small) as (a, vm_a, disk_a),
        _started(large) as (b, vm_b, disk_b),
    ):
        for name, back, pair in (
            ("VM.start", "VM.hard_shutdown", (vm_a, vm_b)),
            ("VBD.plug", "VBD.unplug", (disk_a, disk_b)),
        ):
            extra = (False, False) if name == "VM.start" else ()

            def spent(pool: BenchPool, client: WireClient, ref: str) -> float:
                total = 0.0
                for _ in range(repeat):
                    before = cpu_s(pool.pid("xapi"))
                    client.call(name, ref, *extra)  # noqa: B023
                    total += cpu_s(pool.pid("xapi")) - before
                    client.call(back, ref)  # noqa: B023
                return total / repeat

            found = compare(
                scale.rounds,
                lambda: spent(small, a, pair[0]),  # noqa: B023
                lambda: spent(large, b, pair[1]),  # noqa: B023
            )
            what = f"{name} with {many} VMs in the database, server CPU; with {few}"
            lines.append(found.line("5", what, MAX_GROWTH, ms))
        times = []
        for _ in range(repeat * 2):
            begin = time.perf_counter()
            a.call("VM.start", vm_a, False, False)
            times.append(time.perf_counter() - begin)
            a.call("VM.hard_shutdown", vm_a)
    what = "VM.start, wall, median (real server: 39 ms)"
    return [*lines, Line("", what, "", ms(percentile(times, 0.5)))]


def restart(scale: Scale) -> list[Line]:
    """From kill -9 of the server to its first answer."""
    with bench_pool(scale.vms) as pool:
        times = []
        for _ in range(scale.rounds):
            begin = time.perf_counter()
            pool.kill_and_start("xapi")
            pool.client().call("VM.get_all")
            times.append(time.perf_counter() - begin)
    longest = max(times)
    what = f"kill -9 to first answer with {scale.vms} VMs, longest of {len(times)}"
    return [Line("", what, "", ms(longest), "", "<= 2 s", longest <= 2.0)]


def run(scale: Scale) -> list[Line]:
    """Measure bars 4 and 5 and the restart."""
    return many_starts(scale) + flatness(scale) + restart(scale)
