"""The undo stack."""

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.undo import Undo


async def work(done: list[str], fail: bool, bad_step: bool = False) -> None:
    async with Undo() as undo:
        undo.push("first", lambda: done.append("first"))
        if bad_step:
            undo.push("bad", lambda: 1 // 0)
        undo.push("second", lambda: done.append("second"))
        if fail:
            raise ValueError("no")


def test_steps_are_undone_last_first_when_the_block_fails() -> None:
    done: list[str] = []
    failures: list[Failure] = []
    Deferred.fromCoroutine(work(done, fail=True)).addErrback(failures.append)
    assert failures[0].check(ValueError)
    assert done == ["second", "first"]


def test_nothing_is_undone_when_the_block_succeeds() -> None:
    done: list[str] = []
    Deferred.fromCoroutine(work(done, fail=False))
    assert done == []


def test_a_failing_undo_step_does_not_stop_the_others() -> None:
    done: list[str] = []
    failures: list[Failure] = []
    Deferred.fromCoroutine(work(done, fail=True, bad_step=True)).addErrback(failures.append)
    assert failures[0].check(ValueError)
    assert done == ["second", "first"]
