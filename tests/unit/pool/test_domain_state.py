"""What a report of the domain daemon makes of the records: PCI functions of a VM."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from xapi_py.base.names import Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.pool.domain_state import Place, apply

RUNNING: dict[str, Any] = {
    "power_state": "Running",
    "domids": [7],
    "memory_target": 1 << 28,
    "memory_actual": 1 << 28,
    "rtc_timeoffset": "0",
    "xsdata": {},
    "vbds": {},
    "vifs": {},
    "pcis": ["0_0000:03:00.0"],
    "consoles": [],
    "guest_agent": {},
    "pv_drivers_detected": False,
    "domain_type": "HVM",
    "nomigrate": False,
    "nested_virt": False,
    "hvm": True,
    "vcpu_target": 1,
    "last_start_time": 1.0,
}


class Site:
    """A host with two cards, another host with the like, and a VM."""

    def __init__(self) -> None:
        self.db = Database(load_model("all"), MemoryEngine(), Clock())
        self.host, other = (self.make("host") for _ in range(2))
        self.card = self.make("PCI", host=self.host, pci_id="0000:03:00.0")
        self.make("PCI", host=self.host, pci_id="0000:04:00.0")
        self.make("PCI", host=other, pci_id="0000:03:00.0")
        self.vm = self.make("VM", name_label="with a card")

    def make(self, cls: str, **fields: object) -> Ref:
        with self.db.transaction() as tx:
            return tx.create(cls, fields)

    def report(self, stat: dict[str, Any] | None) -> list[str]:
        """Write a report and give the functions the VM has then."""
        place = Place(self.host, 443)
        with self.db.transaction() as tx:
            apply(self.db, tx, place, self.db.row("VM", self.vm), stat, 0)
        return list(self.db.row("VM", self.vm).attached_PCIs)


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_vm_has_the_functions_of_its_own_host(site: Site) -> None:
    assert site.report(RUNNING) == [site.card]
    assert list(site.db.row("PCI", site.card).attached_VMs) == [site.vm]


@pytest.mark.parametrize("stat", [RUNNING | {"pcis": []}, None])
def test_a_vm_without_functions_has_none(site: Site, stat: dict[str, Any] | None) -> None:
    site.report(RUNNING)
    assert site.report(stat) == []


def test_a_device_without_a_record_is_no_harm(site: Site) -> None:
    assert site.report(RUNNING | {"pcis": ["0_0000:05:00.0", "nonsense"]}) == []
