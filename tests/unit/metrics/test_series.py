"""Archives in memory: rows, consolidation, gaps."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xapi_py.metrics.series import RESOLUTIONS, STEP_S, Rows, Series, choose

START = 17280 * 5 * 10


def filled(count: int, start: int = START, value: float | None = None) -> Series:
    series = Series(["x"])
    for i in range(count):
        series.add(start + i * STEP_S, {"x": float(i) if value is None else value})
    return series


def column(series: Series, level: int, count: int = 1000) -> list[float]:
    return [float(row[0]) for row in series.archives[level].newest(count)]


@given(st.integers(1, 30), st.integers(0, 100))
def test_rows_keep_the_last_ones(limit: int, count: int) -> None:
    rows = Rows(limit, 1)
    for i in range(count):
        rows.push(np.array([float(i)]))
    kept = [float(r[0]) for r in rows.newest(1000)]
    assert kept == [float(i) for i in range(count)][::-1][:limit]


def test_a_minute_is_the_mean_of_its_points() -> None:
    series = filled(25, START + STEP_S)
    assert column(series, 0, 2) == [24.0, 23.0]
    assert column(series, 1) == [sum(range(12, 24)) / 12, sum(range(12)) / 12]
    assert series.end_of(1) == START + 120


def test_half_unknown_is_unknown() -> None:
    series = Series(["x"])
    for i in range(12):
        series.add(START + (i + 1) * STEP_S, {"x": 1.0} if i < 5 else {})
    assert math.isnan(column(series, 1)[0])


def test_a_gap_is_unknown_in_every_resolution_and_costs_little() -> None:
    series = filled(12, START + STEP_S, 1.0)
    series.add(START + 7200, {"x": 2.0})
    assert column(series, 0, 2)[0] == 2.0 and math.isnan(column(series, 0, 2)[1])
    minutes = column(series, 1)
    assert minutes[-1] == 1.0 and len(minutes) == 120 and math.isnan(minutes[0])
    assert series.end_of(1) == START + 7200
    series.add(START + 10**9, {"x": 3.0})
    assert column(series, 0, 1) == [3.0]


def test_old_samples_are_dropped() -> None:
    series = filled(3)
    series.add(START, {"x": 99.0})
    assert column(series, 0) == [2.0, 1.0, 0.0]


def test_quantities_come_and_go() -> None:
    series = filled(13)
    series.add_column("y")
    series.add(START + 13 * STEP_S, {"x": 1.0, "y": 7.0})
    assert series.archives[0].newest(2).tolist()[0] == [1.0, 7.0]
    assert math.isnan(series.archives[0].newest(2)[1][1])
    series.remove_column("x")
    assert series.names == ["y"] and series.archives[0].newest(1).tolist() == [[7.0]]
    series.remove_column("x")


def test_the_finest_resolution_that_reaches_back_is_chosen() -> None:
    now = START
    assert choose(now - 300, 0, now) == 0
    assert choose(now - 300, 60, now) == 1
    assert choose(now - 601, 0, now) == 1
    assert choose(now - 7201, 0, now) == 2
    assert choose(now - 604_801, 0, now) == 3
    assert choose(0, 0, now) == len(RESOLUTIONS) - 1


@settings(max_examples=20)
@given(st.lists(st.integers(1, 400), max_size=20))
def test_times_and_rows_agree_whatever_is_missing(steps: list[int]) -> None:
    series, time = Series(["x"]), START
    for step in steps:
        time += step * STEP_S
        series.add(time, {"x": float(time)})
    for i, value in enumerate(column(series, 0)):
        assert math.isnan(value) or value == series.updated - i * STEP_S
