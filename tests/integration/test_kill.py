"""kill -9 of every daemon at random moments under load: nothing acknowledged is lost.

``--kill-rounds 100`` for the long run; the default is short.
"""

import random
import time
from typing import Any, Final

import pytest
import XenAPI

from tests.integration.kill_load import (
    Client,
    Copies,
    Cycle,
    Disks,
    FieldWriter,
    Load,
    NoAnswer,
    ObjectMaker,
    disks_that_differ,
    make_vm,
    operations_left,
    settled,
)
from tests.integration.running_pool import RunningPool

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAEMONS: Final = ("xapi", "xenopsd", "smd", "networkd")
MAX_LOAD_S: Final = 1.5


def answering(pool: RunningPool, name: str, before: int) -> None:
    """Wait until a killed daemon runs again and calls are answered."""

    def problems() -> list[str]:
        if pool.daemon(name) == before:
            return [f"{name} is not started again"]
        return [] if Client(pool)("pool.get_all") else ["no pool"]

    def safely() -> list[str]:
        try:
            return problems()
        except LookupError as problem:
            return [str(problem)]

    left = settled(safely)
    assert not left, left


def guests(call: Client, vms: list[str]) -> dict[str, tuple[Any, ...]]:
    records = call("VM.get_all_records")
    return {vm: (records[vm]["power_state"], int(records[vm]["domid"])) for vm in vms}


def test_nothing_acknowledged_is_lost(make_pool, request: pytest.FixtureRequest) -> None:
    rounds = request.config.getoption("--kill-rounds")
    chance = random.Random(request.config.getoption("--kill-seed"))
    pool: RunningPool = make_pool().start()
    call = Client(pool)
    sr = call("pool.get_default_SR", call("pool.get_all")[0])
    still = [make_vm(call, f"still {n}") for n in range(2)]
    for vm in still:
        call("VM.start", vm, False, False)
    before = guests(call, still)
    source, cycled = make_vm(call, "source"), make_vm(call, "cycled")
    load = Load(
        [
            FieldWriter("writer", Client(pool), 1),
            ObjectMaker("networks", Client(pool), 2, "network"),
            Disks("disks", Client(pool), 3, sr),
            Copies("copies", Client(pool), 4, source),
            Cycle("cycle", Client(pool), 5, cycled),
        ]
    )
    storage = pool.state / "host-1" / "run" / "smd.sock"
    order = [name for _ in range(rounds) for name in DAEMONS][:rounds]
    chance.shuffle(order)
    failures: list[str] = []
    try:
        for number, name in enumerate(order):
            load.go()
            time.sleep(chance.uniform(0.1, MAX_LOAD_S))
            killed = pool.kill(name)
            time.sleep(chance.uniform(0.0, 0.3))
            answering(pool, name, killed)
            load.pause()

            def problems() -> list[str]:
                found = operations_left(call) + disks_that_differ(call, storage)
                for actor in load.actors:
                    found += actor.check(call)
                if guests(call, still) != before:
                    found.append(f"guests: {guests(call, still)}, were {before}")
                return found

            failures += [f"round {number}, {name}: {text}" for text in settled(problems)]
            if failures:
                break
    finally:
        load.end()
    done = {actor.name: actor.acknowledged for actor in load.actors}
    refused = {actor.name: actor.refused for actor in load.actors}
    print(f"\n{rounds} kills, acknowledged: {done}, refused: {refused}")
    assert not failures, failures
    assert all(done.values()), done


def test_a_killed_server_answers_again_with_a_thousand_vms(make_pool) -> None:
    pool: RunningPool = make_pool().start()
    call = Client(pool)
    (template,) = call("VM.get_by_name_label", "Other install media")
    refs = [call("VM.clone", template, f"vm {number}") for number in range(1000)]
    killed = pool.kill("xapi")
    begin = time.monotonic()
    answering(pool, "xapi", killed)
    print(f"\nanswers {time.monotonic() - begin:.2f} s after the kill")
    assert set(refs) <= set(call_again(call, "VM.get_all"))


def call_again(call: Client, method: str) -> Any:
    """Call once more where the connection was lost with the killed server."""
    try:
        return call(method)
    except (NoAnswer, XenAPI.Failure):
        return call(method)
