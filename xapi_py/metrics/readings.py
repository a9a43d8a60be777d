"""From what daemons count to named quantities; pure.

Counters become rates: what was counted since the last sample, by its seconds.
Names and units are those of brief POOL 14.5.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

KIB: Final = 1024.0
MIB: Final = 1024.0 * 1024.0


class Reading(NamedTuple):
    """A quantity at one moment.

    A ``counter`` is to become a rate, times ``scale``.  Quantities that are not
    ``standard`` are kept only when somebody asks for it.
    """

    name: str
    value: float
    units: str
    about: str
    counter: bool = False
    standard: bool = True
    low: float = 0.0
    high: float = math.inf
    scale: float = 1.0


def _number(figures: Mapping[str, Any], name: str) -> float:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def vm_readings(figures: Mapping[str, Any]) -> Iterator[Reading]:
    """Name the figures of a domain, see ``VM.metrics`` of the domain daemon."""
    for number, seconds in enumerate(figures.get("cpu", ())):
        about = f"CPU {number} usage"
        yield Reading(f"cpu{number}", float(seconds), "(fraction)", about, True, high=1.0)
    for name, about in (("memory_actual", "Memory in use"), ("memory_target", "Memory target")):
        shown = "memory" if name == "memory_actual" else name
        yield Reading(shown, _number(figures, name), "B", about)
    free = figures.get("memory_internal_free_kib")
    if free is not None:
        yield Reading("memory_internal_free", float(free), "KiB", "Memory the guest leaves free")
    for device, counts in figures.get("vifs", {}).items():
        yield from _vif(str(device), counts)
    for device, counts in figures.get("vbds", {}).items():
        yield from _vbd(str(device), counts)


def _vif(device: str, counts: Mapping[str, Any]) -> Iterator[Reading]:
    for way, about in (("rx", "received"), ("tx", "sent")):
        name = f"vif_{device}_{way}"
        shown = f"Bytes {about} by network device {device}"
        yield Reading(name, _number(counts, way), "B/s", shown, True)
        errors = _number(counts, f"{way}_errors")
        shown = f"Errors of network device {device}, {about}"
        yield Reading(f"{name}_errors", errors, "err/s", shown, True, standard=False)


def _vbd(device: str, counts: Mapping[str, Any]) -> Iterator[Reading]:
    total = 0.0
    for way in ("read", "write"):
        name, bytes_, ops = f"vbd_{device}", _number(counts, way), _number(counts, f"{way}_ops")
        total += ops
        shown = f"Bytes {way} on disk {device}"
        yield Reading(f"{name}_{way}", bytes_, "B/s", shown, True)
        shown = f"Requests to {way} on disk {device}"
        yield Reading(f"{name}_iops_{way}", ops, "requests/s", shown, True, standard=False)
        shown = f"Throughput of {way} on disk {device}"
        yield Reading(
            f"{name}_io_throughput_{way}", bytes_, "MiB/s", shown, True, False, scale=1 / MIB
        )
    shown = f"Requests to disk {device}"
    yield Reading(f"vbd_{device}_iops_total", total, "requests/s", shown, True, standard=False)
    inflight = _number(counts, "inflight")
    shown = f"Requests under way on disk {device}"
    yield Reading(f"vbd_{device}_inflight", inflight, "requests", shown, standard=False)


def host_readings(
    figures: Mapping[str, Any], devices: Mapping[str, Mapping[str, Any]]
) -> Iterator[Reading]:
    """Name the figures of a host: ``HOST.metrics``, and ``Network.stats`` by device."""
    cpus = [float(seconds) for seconds in figures.get("cpus", ())]
    for number, seconds in enumerate(cpus):
        shown = f"Usage of processor {number}"
        yield Reading(f"cpu{number}", seconds, "(fraction)", shown, True, high=1.0)
    if cpus:
        mean = sum(cpus) / len(cpus)
        yield Reading("cpu_avg", mean, "(fraction)", "Mean processor usage", True, high=1.0)
    total, free = _number(figures, "memory_total"), _number(figures, "memory_free")
    yield Reading("memory_total_kib", total / KIB, "KiB", "Memory of the host")
    yield Reading("memory_free_kib", free / KIB, "KiB", "Memory nobody has")
    yield Reading("loadavg", _number(figures, "loadavg"), "(fraction)", "Control domain's load")
    yield Reading("running_vcpus", _number(figures, "running_vcpus"), "count", "Virtual processors")
    yield Reading("running_domains", _number(figures, "running_domains"), "count", "Domains")
    yield from _pifs(devices)


def _pifs(devices: Mapping[str, Mapping[str, Any]]) -> Iterator[Reading]:
    sums = {"rx": 0.0, "tx": 0.0}
    for device, counts in sorted(devices.items()):
        if counts.get("kind") not in ("nic", "bond", "physical"):
            continue
        for way, about in (("rx", "received"), ("tx", "sent")):
            bytes_ = _number(counts, f"{way}_bytes")
            errors = _number(counts, f"{way}_errors")
            if counts.get("kind") != "bond" and bytes_ == bytes_:
                sums[way] += bytes_
            name, shown = f"pif_{device}_{way}", f"Bytes {about} on {device}"
            yield Reading(name, bytes_, "B/s", shown, True)
            shown = f"Errors of {device}, {about}"
            yield Reading(f"{name}_errors", errors, "err/s", shown, True, standard=False)
    for way, about in (("rx", "received"), ("tx", "sent")):
        yield Reading(f"pif_aggr_{way}", sums[way], "B/s", f"Bytes {about} on all NICs", True)


def server_readings(memory_kib: float, files: int, sessions: int, tasks: int) -> Iterator[Reading]:
    """Name the figures of this process."""
    yield Reading("xapi_memory_usage_kib", memory_kib, "KiB", "Memory of the API server")
    yield Reading("xapi_open_fds", float(files), "count", "Open files of the API server")
    yield Reading("pool_session_count", float(sessions), "count", "Sessions of the pool")
    yield Reading("pool_task_count", float(tasks), "count", "Tasks of the pool")


@dataclass(slots=True)
class Traffic:
    """What the disks of one SR carried, by the second."""

    read_bytes: float = 0.0
    write_bytes: float = 0.0
    read_requests: float = 0.0
    write_requests: float = 0.0
    read_s: float = 0.0
    write_s: float = 0.0


def traffic_readings(sr: str, traffic: Traffic) -> Iterator[Reading]:
    """Name the traffic of an SR as the host it passes through shows it."""
    short = sr[:8]
    pairs = (
        ("read", traffic.read_bytes, traffic.read_requests, traffic.read_s),
        ("write", traffic.write_bytes, traffic.write_requests, traffic.write_s),
    )
    for way, bytes_, requests, seconds in pairs:
        shown = f"Throughput of {way} on SR {short}"
        yield Reading(f"io_throughput_{way}_{short}", bytes_ / MIB, "MiB/s", shown)
        yield Reading(f"iops_{way}_{short}", requests, "requests/s", f"Requests to {way}")
        latency = 1000.0 * seconds / requests if requests else 0.0
        yield Reading(f"{way}_latency_{short}", latency, "ms", f"Time of a {way}", standard=False)
    both = traffic.read_bytes + traffic.write_bytes
    yield Reading(f"io_throughput_total_{short}", both / MIB, "MiB/s", f"Throughput of SR {short}")
    requests = traffic.read_requests + traffic.write_requests
    yield Reading(f"iops_total_{short}", requests, "requests/s", f"Requests to SR {short}")


def sr_readings(size: int, used: int, traffic: Traffic) -> Iterator[Reading]:
    """Name the figures of an SR itself."""
    yield Reading("size", float(size), "B", "Size")
    yield Reading("physical_utilisation", float(used), "B", "Space in use")
    both = (traffic.read_bytes + traffic.write_bytes) / MIB
    yield Reading("io_throughput_total_per_host", both, "MiB/s", "Throughput from this host")


class Rates:
    """Remembers counters to turn them into rates."""

    def __init__(self) -> None:
        self._time = 0.0
        self._before: dict[str, float] = {}

    def values(self, time: float, readings: Iterable[Reading]) -> dict[str, float]:
        """Give the values of one moment; a rate is unknown at first and after a reset.

        What is outside of its limits is unknown too; a processor that seems a
        little busier than possible is simply busy.
        """
        elapsed = time - self._time if self._time else 0.0
        now: dict[str, float] = {}
        found: dict[str, float] = {}
        for reading in readings:
            value = reading.value
            if reading.counter:
                now[reading.name] = value
                before = self._before.get(reading.name, math.nan)
                value = (value - before) / elapsed * reading.scale if elapsed > 0 else math.nan
                if reading.high == 1.0 and 1.0 < value < 1.1:
                    value = 1.0
            found[reading.name] = value if reading.low <= value <= reading.high else math.nan
        self._time, self._before = time, now
        return found
