"""The benchmark works; how fast anything is, is no test."""

import pytest

from tests.bench.__main__ import GROUPS, table
from tests.bench.measure import QUICK, Line, compare


@pytest.mark.integration
def test_the_bars_on_calls_can_be_measured() -> None:
    lines = GROUPS["calls"](QUICK)
    assert {line.bar for line in lines} == {"1", "2", "3", ""}


@pytest.mark.bench
@pytest.mark.parametrize("group", GROUPS)
def test_every_bar_can_be_measured(group: str) -> None:
    assert GROUPS[group](QUICK)


def test_a_comparison_is_the_median_of_the_ratios_of_its_rounds() -> None:
    ours = iter([9.0, 2.0, 30.0, 4.0])
    found = compare(3, lambda: 2.0, lambda: next(ours))
    assert (found.reference, found.ours, found.ratio) == (2.0, 4.0, 2.0)


def test_the_table_says_which_bars_are_met() -> None:
    lines = [Line("1", "fast", "2 us", "1 us", "0.50", "<= 0.6", True), Line("", "seen", "", "3")]
    head, rule, first, second = table(lines).splitlines()
    assert head.split()[0] == "bar"
    assert first.endswith("yes")
    assert second.split() == ["seen", "3"]
