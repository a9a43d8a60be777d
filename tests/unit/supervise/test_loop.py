import os
import signal

from xapi_py.supervise.loop import Loop


def test_timers_fire_in_order_of_time_and_cancelled_ones_do_not():
    loop, fired = Loop(), []
    loop.later(0.002, lambda: fired.append("second"))
    loop.later(0.0, lambda: fired.append("first"))
    loop.cancel(loop.later(0.001, lambda: fired.append("never")))
    loop.later(0.003, lambda: fired.append("last"))
    loop.run(lambda: "last" in fired, lambda number: None)
    assert fired == ["first", "second", "last"]


def test_signals_reach_the_loop_and_the_old_behaviour_returns_after():
    loop, seen = Loop(), []
    before = signal.getsignal(signal.SIGTERM)
    loop.later(0.0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    loop.run(lambda: bool(seen), seen.append)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_forgotten_descriptor_calls_no_more():
    loop, calls = Loop(), []
    reading, writing = os.pipe()
    os.write(writing, b"x")

    def once() -> None:
        calls.append("once")
        loop.forget(reading)
        loop.later(0.0, lambda: calls.append("end"))

    loop.watch(reading, once)
    loop.run(lambda: "end" in calls, lambda number: None)
    os.close(reading)
    os.close(writing)
    assert calls == ["once", "end"]


def test_a_descriptor_forgotten_in_the_same_turn_calls_no_more():
    loop, ends, called = Loop(), [os.pipe(), os.pipe()], []

    def first_come(mine: int, other: int) -> None:
        called.append(mine)
        loop.forget(other)
        loop.forget(mine)

    (a, _), (b, _) = ends
    loop.watch(a, lambda: first_come(a, b))
    loop.watch(b, lambda: first_come(b, a))
    for _, write in ends:
        os.write(write, b"x")
    loop.run(lambda: bool(called), lambda number: None)
    for pair in ends:
        for end in pair:
            os.close(end)
    assert len(called) == 1
