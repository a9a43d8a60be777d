"""Ratios measured in one run: reference and ours in turn, the median of the ratios."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Measurement = Callable[[], float]
"""Does a fixed amount of work and gives what it cost, in seconds or calls a second."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int = 5
    calls: int = 3000
    vms: int = 1000
    starts: int = 1000
    listeners: int = 50
    events: int = 300
    flat: tuple[int, int] = (100, 10_000)
    growth: tuple[int, ...] = (1000, 10_000, 100_000)
    stall_vms: int = 50_000
    stall_s: float = 60.0
    writers: int = 50
    write_s: float = 2.0


QUICK = Scale(
    rounds=1,
    calls=60,
    vms=20,
    starts=5,
    listeners=3,
    events=5,
    flat=(10, 60),
    growth=(50, 200),
    stall_vms=200,
    stall_s=1.0,
    writers=4,
    write_s=0.3,
)
"""Only shows that everything still works."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.  ``met`` None: shown for orientation, no bar."""

    bar: str
    what: str
    reference: str
    ours: str
    ratio: str = ""
    limit: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both and of the ratios of the rounds."""

    reference: float
    ours: float
    ratio: float

    def line(self, bar: str, what: str, limit: float, show: Callable[[float], str]) -> Line:
        """Give the line of a bar that allows at most ``limit`` times the reference."""
        return Line(
            bar,
            what,
            show(self.reference),
            show(self.ours),
            f"{self.ratio:.2f}",
            f"<= {limit:g}",
            self.ratio <= limit,
        )


def compare(rounds: int, reference: Measurement, ours: Measurement) -> Comparison:
    """Measure both in turn; the first turn of each only warms up."""
    reference()
    ours()
    pairs = [(reference(), ours()) for _ in range(rounds)]
    return Comparison(
        statistics.median(r for r, _ in pairs),
        statistics.median(o for _, o in pairs),
        statistics.median(o / r for r, o in pairs),
    )


def cpu_s(*processes: int) -> float:
    """Give the processor time that processes have used, all threads."""
    return sum(map(_cpu_s, processes))


def _cpu_s(process: int) -> float:
    tasks = list(Path(f"/proc/{process}/task").glob("*/schedstat"))
    if tasks:
        return sum(int(t.read_text().split()[0]) for t in tasks) / 1e9
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(process: int) -> int:
    """Give the resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_of(work: Callable[[], object]) -> float:
    """Run work in this thread and give the processor time it took."""
    begin = time.thread_time()
    work()
    return time.thread_time() - begin


@contextmanager
def wall(into: list[float]) -> Iterator[None]:
    """Append the seconds a block takes."""
    begin = time.perf_counter()
    yield
    into.append(time.perf_counter() - begin)


def percentile(values: list[float], share: float) -> float:
    """Give the value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def per_second(rate: float) -> str:
    return f"{rate:.0f}/s"
