"""Archives in memory: fixed numbers of rows at four resolutions.

Memory grows with what is there, not with what could be.  Nothing here knows
where values come from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xapi_py.metrics.arrays import Floats, np

STEP_S: Final = 5
XFF: Final = 0.5
"""A consolidated row is known when at least this part of its points is."""

FIRST_ROWS: Final = 8


@dataclass(frozen=True, slots=True)
class Resolution:
    """How many points a row stands for, and how many rows are kept."""

    points: int
    rows: int

    @property
    def step_s(self) -> int:
        """Seconds from row to row."""
        return self.points * STEP_S

    @property
    def span_s(self) -> int:
        """Seconds all rows cover."""
        return self.step_s * self.rows


RESOLUTIONS: Final = (
    Resolution(1, 120),
    Resolution(12, 120),
    Resolution(720, 168),
    Resolution(17280, 366),
)


class Rows:
    """The last rows of one resolution."""

    def __init__(self, limit: int, columns: int) -> None:
        self._limit = limit
        self._data: Floats = np.full((min(limit, FIRST_ROWS), columns), np.nan)
        self._next = 0
        self.count = 0

    def push(self, row: Floats) -> None:
        """Add a row; the oldest one goes when there are too many."""
        if self._next == len(self._data):
            if self._next < self._limit:
                more = min(self._limit, 2 * self._next) - self._next
                extra = np.full((more, self._data.shape[1]), np.nan)
                self._data = np.concatenate((self._data, extra))
            else:
                self._next = 0
        self._data[self._next] = row
        self._next += 1
        self.count = min(self.count + 1, self._limit)

    def newest(self, count: int) -> Floats:
        """Give up to ``count`` rows, newest first."""
        count = min(count, self.count)
        return self._data[(self._next - 1 - np.arange(count)) % len(self._data)]

    def add_column(self) -> None:
        """Add a column of unknown values."""
        self._data = np.concatenate((self._data, np.full((len(self._data), 1), np.nan)), axis=1)

    def remove_column(self, index: int) -> None:
        """Remove a column."""
        self._data = np.delete(self._data, index, axis=1)


class Series:
    """The archives of one owner: a host, a virtual machine or an SR.

    ``updated`` is the time of the last sample, a multiple of the step.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.updated = 0
        self.archives = [Rows(r.rows, 0) for r in RESOLUTIONS]
        coarse = len(RESOLUTIONS) - 1
        self.totals: Floats = np.zeros((coarse, 0))
        self.known: Floats = np.zeros((coarse, 0))
        for name in names:
            self.add_column(name)

    def add_column(self, name: str) -> None:
        """Begin to keep a quantity; nothing is known of its past."""
        if name in self.index:
            return
        self.index[name] = len(self.names)
        self.names.append(name)
        for rows in self.archives:
            rows.add_column()
        column = np.zeros((len(self.totals), 1))
        self.totals = np.concatenate((self.totals, column), axis=1)
        self.known = np.concatenate((self.known, column), axis=1)

    def remove_column(self, name: str) -> None:
        """Drop a quantity with its past."""
        at = self.index.get(name)
        if at is None:
            return
        self.names.remove(name)
        self.index = {kept: i for i, kept in enumerate(self.names)}
        for rows in self.archives:
            rows.remove_column(at)
        self.totals = np.delete(self.totals, at, axis=1)
        self.known = np.delete(self.known, at, axis=1)

    def add(self, time: int, values: Mapping[str, float]) -> None:
        """Add a sample; ``time`` is a multiple of the step.  Older ones are dropped."""
        if time <= self.updated:
            return
        if self.updated and time - self.updated > STEP_S:
            self._skip(time - STEP_S)
        get = values.get
        self._push(time, np.array([get(name, math.nan) for name in self.names]))

    def _skip(self, until: int) -> None:
        """Fill the time to ``until`` with nothing, at a bounded cost."""
        unknown = np.full(len(self.names), np.nan)
        missing = (until - self.updated) // STEP_S
        for _ in range(min(missing, RESOLUTIONS[0].rows)):
            self.archives[0].push(unknown)
        for i, resolution in enumerate(RESOLUTIONS[1:]):
            crossed = until // resolution.step_s - self.updated // resolution.step_s
            if crossed > 0:
                self._close(i)
            for _ in range(min(crossed - 1, resolution.rows)):
                self.archives[i + 1].push(unknown)
        self.updated = until

    def _push(self, time: int, row: Floats) -> None:
        self.archives[0].push(row)
        is_known = ~np.isnan(row)
        self.totals += np.where(is_known, row, 0.0)
        self.known += is_known
        self.updated = time
        for i, resolution in enumerate(RESOLUTIONS[1:]):
            if time % resolution.step_s == 0:
                self._close(i)

    def _close(self, coarse: int) -> None:
        """Complete a consolidated row."""
        known = self.known[coarse]
        enough = known >= RESOLUTIONS[coarse + 1].points * XFF
        row = np.where(enough, self.totals[coarse] / np.maximum(known, 1.0), np.nan)
        self.archives[coarse + 1].push(row)
        self.totals[coarse] = 0.0
        self.known[coarse] = 0.0

    def end_of(self, level: int) -> int:
        """Give the time of the newest row of a resolution."""
        step = RESOLUTIONS[level].step_s
        return self.updated // step * step


def choose(start: int, interval_s: int, now: int) -> int:
    """Choose the finest resolution that is coarse enough and reaches back to ``start``.

    The coarsest one if none does.  Source: brief POOL 14.2.
    """
    for level, resolution in enumerate(RESOLUTIONS):
        end = now // resolution.step_s * resolution.step_s
        if resolution.step_s >= interval_s and end - resolution.span_s <= start:
            return level
    return len(RESOLUTIONS) - 1
