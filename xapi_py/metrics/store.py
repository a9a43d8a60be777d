"""All metrics of one host: who has which, their archives, their files."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ocaml_compat.rrd_xml import Archive, Rrd, Source, Xport
from xapi_py.base.slices import Steps
from xapi_py.metrics import files
from xapi_py.metrics.arrays import Floats, np
from xapi_py.metrics.readings import Rates, Reading
from xapi_py.metrics.series import RESOLUTIONS, STEP_S, Series, choose

OwnerKind = Literal["vm", "host", "sr"]
Key = tuple[OwnerKind, str]

FUNCTION = "AVERAGE"
IDLE_S = 600
"""Owners without samples for so long are kept in their files only."""


@dataclass(slots=True)
class Owner:
    """What is known of one host, guest or SR.

    ``readings`` and ``values`` are of the last sample, also of quantities
    that are not kept.  ``wanted`` maps names to what a client asked for: True
    to keep one that is not kept by itself, False for one that is.
    """

    kind: OwnerKind
    uuid: str
    series: Series = field(default_factory=Series)
    rates: Rates = field(default_factory=Rates)
    readings: dict[str, Reading] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    wanted: dict[str, bool] = field(default_factory=dict)
    saved: int = 0

    def is_kept(self, reading: Reading) -> bool:
        """Whether a quantity goes into the archives."""
        return self.wanted.get(reading.name, reading.standard)


@dataclass(frozen=True, slots=True)
class DataSource:
    """A quantity as the API lists it."""

    reading: Reading
    enabled: bool
    value: float


class Metrics:
    """The metrics of this host; ``folder`` None keeps nothing over a restart."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._owners: dict[Key, Owner] = {}
        self.sampled = 0

    def find(self, kind: OwnerKind, uuid: str) -> Owner | None:
        """Give what is known of an owner, from its file if need be."""
        owner = self._owners.get((kind, uuid))
        if owner is not None or self._folder is None or not files.is_name(uuid):
            return owner
        kept = files.load(self._folder, kind, uuid)
        if kept is None:
            return None
        owner = Owner(kind, uuid, kept.series, wanted=kept.wanted, saved=kept.series.updated)
        self._owners[kind, uuid] = owner
        return owner

    def record(self, kind: OwnerKind, uuid: str, time: int, readings: Iterable[Reading]) -> Owner:
        """Take a sample; ``time`` is a multiple of the step."""
        owner = self.find(kind, uuid)
        if owner is None:
            owner = self._owners[kind, uuid] = Owner(kind, uuid)
        found = {reading.name: reading for reading in readings}
        owner.values = owner.rates.values(time, found.values())
        if found.keys() != owner.readings.keys():
            for reading in found.values():
                if owner.is_kept(reading):
                    owner.series.add_column(reading.name)
        owner.readings = found
        owner.series.add(time, owner.values)
        return owner

    def live(self, kind: OwnerKind) -> list[Owner]:
        """List the owners that the last sample was taken of."""
        return [
            owner
            for owner in self._owners.values()
            if owner.kind == kind and owner.series.updated == self.sampled
        ]

    def sources(self, kind: OwnerKind, uuid: str) -> list[DataSource]:
        """List the quantities an owner has."""
        owner = self.find(kind, uuid)
        if owner is None:
            return []
        return [
            DataSource(reading, owner.is_kept(reading), owner.values.get(name, math.nan))
            for name, reading in owner.readings.items()
        ]

    def keep(self, kind: OwnerKind, uuid: str, name: str) -> bool:
        """Begin to keep a quantity; whether there is one of that name."""
        owner = self.find(kind, uuid)
        if owner is None or name not in owner.readings:
            return False
        owner.wanted[name] = True
        owner.series.add_column(name)
        return True

    def forget(self, kind: OwnerKind, uuid: str, name: str) -> bool:
        """Drop what was kept of a quantity; whether there is one of that name."""
        owner = self.find(kind, uuid)
        if owner is None or (name not in owner.readings and name not in owner.series.index):
            return False
        owner.wanted[name] = False
        owner.series.remove_column(name)
        return True

    def dump(self, owner: Owner) -> Rrd:
        """Give a whole archive."""
        series = owner.series
        sources = [self._source(owner, name) for name in series.names]
        archives = []
        for level, (resolution, rows) in enumerate(zip(RESOLUTIONS, series.archives, strict=True)):
            totals: Sequence[float] = ()
            unknown: Sequence[int] = ()
            if level:
                totals = series.totals[level - 1].tolist()
                passed = series.updated % resolution.step_s // STEP_S
                unknown = [passed - int(known) for known in series.known[level - 1]]
            whole = np.full((resolution.rows, len(series.names)), np.nan)
            if rows.count:
                whole[-rows.count :] = rows.newest(rows.count)[::-1]
            archives.append(Archive(FUNCTION, resolution.points, whole.tolist(), totals, unknown))
        return Rrd(STEP_S, series.updated, sources, archives)

    def _source(self, owner: Owner, name: str) -> Source:
        reading = owner.readings.get(name)
        if reading is None:
            return Source(name)
        kind: Literal["DERIVE", "GAUGE"] = "DERIVE" if reading.counter else "GAUGE"
        return Source(name, kind, low=reading.low, high=reading.high, last=reading.value)

    def excerpt(self, owners: Sequence[Owner], start: int, interval_s: int) -> Steps[Xport]:
        """Give the rows of several owners since ``start``, in steps.

        A negative start counts from the newest row; 0 is as far back as can be.
        """
        now = max((owner.series.updated for owner in owners), default=self.sampled)
        if start <= 0:
            start = now + start if start else 0
        level = choose(start, interval_s, now)
        step, limit = RESOLUTIONS[level].step_s, RESOLUTIONS[level].rows
        end = now // step * step
        held = max(
            (_late(o, level, end) + o.series.archives[level].count for o in owners), default=0
        )
        count = max(0, min(limit, held, (end - start) // step + 1))
        legend: list[str] = []
        columns = []
        for owner in owners:
            prefix = f"{FUNCTION}:{owner.kind}:{owner.uuid}:"
            legend += [prefix + name for name in owner.series.names]
            columns.append(_rows(owner, level, end, count))
            yield
        whole = np.concatenate(columns, axis=1) if columns else np.zeros((count, 0))
        times = [end - step * i for i in range(count)]
        first = times[-1] if times else end
        return Xport(first, step, end, legend, times, whole.tolist())

    def save(self, exists: Callable[[OwnerKind, str], bool], limit: int = 0) -> int:
        """Write what has changed, oldest first, up to ``limit`` owners; how many are left.

        Owners that no longer exist are removed with their files, and idle ones from memory.
        """
        if self._folder is None:
            return 0
        waiting = []
        for key, owner in list(self._owners.items()):
            if not exists(*key):
                del self._owners[key]
                files.remove(self._folder, *key)
            elif owner.saved < owner.series.updated:
                waiting.append(owner)
            elif self.sampled - owner.series.updated > IDLE_S:
                del self._owners[key]
        waiting.sort(key=lambda owner: owner.saved)
        for owner in waiting[: limit or None]:
            files.save(self._folder, owner.kind, owner.uuid, owner.series, owner.wanted)
            owner.saved = owner.series.updated
        return max(0, len(waiting) - limit) if limit else 0


def _late(owner: Owner, level: int, end: int) -> int:
    """Give how many rows before ``end`` the owner's newest one is."""
    return (end - owner.series.end_of(level)) // RESOLUTIONS[level].step_s


def _rows(owner: Owner, level: int, end: int, count: int) -> Floats:
    """Give ``count`` rows of one owner, newest first, the first one at ``end``."""
    series, late = owner.series, _late(owner, level, end)
    if late == 0 and series.archives[level].count >= count:
        return series.archives[level].newest(count)
    whole = np.full((count, len(series.names)), np.nan)
    found = series.archives[level].newest(max(0, count - late))
    if late < count and len(found):
        whole[late : late + len(found)] = found
    return whole
