from xapi_py.supervise.backoff import Backoff


def test_first_deaths_cost_nothing_then_delays_double_to_a_limit():
    backoff = Backoff()
    delays = [backoff.ended(0.1) for _ in range(12)]
    assert delays == [0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]


def test_a_long_life_clears_the_count():
    backoff = Backoff()
    for _ in range(8):
        backoff.ended(0.1)
    assert backoff.ended(2.0) == 0
    assert backoff.ended(0.1) == 0


def test_the_count_may_grow_for_days():
    backoff = Backoff(quick=10**6)
    assert backoff.ended(0.0) == 5.0
