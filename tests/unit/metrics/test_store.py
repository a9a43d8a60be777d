"""Owners of metrics, what clients ask of them, and their files."""

import math
from pathlib import Path
from typing import Any

from ocaml_compat import rrd_xml
from ocaml_compat.rrd_xml import Xport
from xapi_py.base.names import new_uuid
from xapi_py.metrics.readings import Rates, Reading, host_readings, vm_readings
from xapi_py.metrics.series import STEP_S
from xapi_py.metrics.store import Metrics

START = 17280 * 5 * 10
UUID = "4e0ff4a2-5e5a-4c5c-8a0b-0d5a1f5f0009"


def excerpt(metrics: Metrics, *arguments: Any) -> Xport:
    """Run all steps."""
    steps = metrics.excerpt(*arguments)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def gauge(name: str, value: float, standard: bool = True) -> Reading:
    return Reading(name, value, "count", "", standard=standard)


def sampled(folder: Path | None = None, count: int = 3) -> Metrics:
    metrics = Metrics(folder)
    for i in range(count):
        time = START + i * STEP_S
        readings = [gauge("a", float(i)), gauge("rare", 1.0, standard=False)]
        metrics.record("vm", UUID, time, readings)
        metrics.sampled = time
    return metrics


def test_counters_become_rates() -> None:
    rates = Rates()
    counter = [Reading("c", value, "B/s", "", counter=True) for value in (100.0, 600.0, 50.0)]
    found = [rates.values(START + 5.0 * i, [reading])["c"] for i, reading in enumerate(counter)]
    assert math.isnan(found[0]) and found[1] == 100.0 and math.isnan(found[2])


def test_a_processor_is_never_more_than_busy() -> None:
    rates = Rates()
    for i, seconds in enumerate((0.0, 5.2, 30.0)):
        reading = Reading("cpu0", seconds, "(fraction)", "", counter=True, high=1.0)
        value = rates.values(START + 5.0 * i, [reading])["cpu0"]
        assert [math.isnan(value), value == 1.0, math.isnan(value)][i]


def test_figures_get_the_names_clients_know() -> None:
    vm = {"cpu": [1.0], "memory_actual": 5, "memory_target": 5, "memory_internal_free_kib": 2}
    vm |= {"vifs": {"0": {"rx": 1, "tx": 2}}, "vbds": {"xvda": {"read": 1, "write": 2}}}  # type: ignore[dict-item]
    kept = {reading.name for reading in vm_readings(vm) if reading.standard}
    assert kept == {
        *("cpu0", "memory", "memory_target", "memory_internal_free", "vif_0_rx", "vif_0_tx"),
        *("vbd_xvda_read", "vbd_xvda_write"),
    }
    devices = {"eth0": {"kind": "nic", "rx_bytes": 1, "tx_bytes": 2}, "xenbr0": {"kind": "bridge"}}
    names = {reading.name for reading in host_readings({"cpus": [1.0]}, devices)}
    assert {"cpu0", "cpu_avg", "pif_eth0_rx", "pif_aggr_tx", "memory_free_kib"} <= names
    assert not any("xenbr0" in name for name in names)


def test_an_excerpt_is_newest_first_and_starts_where_asked() -> None:
    metrics = sampled()
    (owner,) = metrics.live("vm")
    xport = excerpt(metrics, [owner], START + STEP_S, 0)
    assert xport.times == [START + 10, START + 5] and xport.rows == [[2.0], [1.0]]
    assert xport.legend == [f"AVERAGE:vm:{UUID}:a"]
    assert excerpt(metrics, [owner], -STEP_S, 0).times == [START + 10, START + 5]
    assert excerpt(metrics, [owner], START + 1000, 0).times == []
    assert excerpt(metrics, [], START, 0).legend == []


def test_owners_that_joined_late_or_left_early_have_unknown_values() -> None:
    metrics = sampled()
    late = metrics.record("vm", new_uuid(), START + 15, [gauge("b", 1.0)])
    early = metrics.find("vm", UUID)
    assert early is not None
    rows = excerpt(metrics, [early, late], START, 0).rows
    assert len(rows) == 4
    assert math.isnan(rows[0][0]) and rows[0][1] == 1.0
    assert rows[1][0] == 2.0 and math.isnan(rows[1][1])


def test_quantities_that_are_not_standard_are_kept_on_demand() -> None:
    metrics = sampled()
    listed = {s.reading.name: s.enabled for s in metrics.sources("vm", UUID)}
    assert listed == {"a": True, "rare": False}
    assert metrics.keep("vm", UUID, "rare") and not metrics.keep("vm", UUID, "nothing")
    assert metrics.forget("vm", UUID, "a") and not metrics.forget("vm", UUID, "nothing")
    listed = {s.reading.name: s.enabled for s in metrics.sources("vm", UUID)}
    assert listed == {"a": False, "rare": True}
    owner = metrics.find("vm", UUID)
    assert owner is not None and owner.series.names == ["rare"]


def test_archives_survive_a_restart(tmp_path: Path) -> None:
    metrics = sampled(tmp_path)
    metrics.keep("vm", UUID, "rare")
    before = metrics.dump(metrics.find("vm", UUID))  # type: ignore[arg-type]
    assert metrics.save(lambda kind, uuid: True) == 0
    again = Metrics(tmp_path)
    owner = again.find("vm", UUID)
    assert owner is not None and owner.wanted == {"rare": True}
    assert repr(again.dump(owner).archives) == repr(before.archives)
    text = "".join(rrd_xml.render(again.dump(owner)))
    assert rrd_xml.parse(text.encode()).updated == START + 10


def test_what_is_gone_leaves_no_file(tmp_path: Path) -> None:
    metrics = sampled(tmp_path)
    metrics.save(lambda kind, uuid: True)
    assert len(list(tmp_path.iterdir())) == 1
    metrics.save(lambda kind, uuid: False)
    assert list(tmp_path.iterdir()) == [] and metrics.find("vm", UUID) is None


def test_files_are_written_a_few_at_a_time(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for _ in range(5):
        metrics.record("vm", new_uuid(), START, [gauge("a", 1.0)])
    assert metrics.save(lambda kind, uuid: True, 2) == 3
    assert metrics.save(lambda kind, uuid: True, 2) == 1
    assert metrics.save(lambda kind, uuid: True, 2) == 0


def test_damaged_files_and_odd_names_are_nothing(tmp_path: Path) -> None:
    (tmp_path / f"vm-{UUID}.npz").write_bytes(b"PK\x03\x04 rubbish")
    metrics = Metrics(tmp_path)
    assert metrics.find("vm", UUID) is None
    assert metrics.find("vm", "../../etc/passwd") is None


def test_a_whole_archive_has_all_rows() -> None:
    metrics = sampled()
    rrd = metrics.dump(metrics.live("vm")[0])
    assert [(a.points, len(a.rows)) for a in rrd.archives] == [
        *((1, 120), (12, 120), (720, 168), (17280, 366))
    ]
    assert rrd.archives[0].rows[-1] == [2.0] and rrd.updated == START + 10
