"""PCI records of a host follow its devices from start to start."""

import pytest
from twisted.internet.task import Clock

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.start import pci_records


def device(address: str, class_id: str = "0200", device_id: str = "10fb", **more: str):
    fields = {"vendor_id": "8086", "device_name": "82599ES", "driver": "ixgbe", **more}
    return {"address": address, "class_id": class_id, "device_id": device_id, **fields}


@pytest.fixture
def db() -> Database:
    return Database(load_model("all"), MemoryEngine(), Clock())


@pytest.fixture
def host(db: Database) -> Ref:
    with db.transaction() as tx:
        return tx.create("host", {})


def refresh(db: Database, host: Ref, *devices: dict[str, str]) -> dict[str, Ref]:
    with db.transaction() as tx:
        pci_records.refresh(db, tx, host, devices)
    return {row.pci_id: row.ref for row in db.rows("PCI") if row.host == host}


def test_network_and_display_controllers_have_records(db: Database, host: Ref):
    found = refresh(
        db, host, device("0000:03:00.0"), device("0000:00:02.0", "0300"), device("0", "0600")
    )
    assert set(found) == {"0000:03:00.0", "0000:00:02.0"}
    row = db.row("PCI", found["0000:03:00.0"])
    assert (row.device_name, row.driver_name, row.functions) == ("82599ES", "ixgbe", 1)
    assert row.physical_function == NULL_REF


def test_functions_of_one_card_depend_on_each_other(db: Database, host: Ref):
    found = refresh(db, host, device("0000:03:00.0"), device("0000:03:00.1"))
    first = db.row("PCI", found["0000:03:00.0"])
    assert (first.functions, first.dependencies) == (2, (found["0000:03:00.1"],))


def test_virtual_functions_name_their_physical_one(db: Database, host: Ref):
    virtual = device("0000:03:10.0", device_id="10ed", physical_function="0000:03:00.0")
    found = refresh(db, host, device("0000:03:00.0"), virtual)
    physical = db.row("PCI", found["0000:03:00.0"])
    assert tuple(physical.virtual_functions) == (found["0000:03:10.0"],)


def test_records_stay_as_long_as_the_device_and_go_with_it(db: Database, host: Ref):
    before = refresh(db, host, device("0000:03:00.0"), device("0000:04:00.0"))
    with db.transaction() as tx:
        tx.set("PCI", before["0000:03:00.0"], "other_config", {"mine": "1"})
    after = refresh(db, host, device("0000:03:00.0", driver="vfio"))
    assert after == {"0000:03:00.0": before["0000:03:00.0"]}
    row = db.row("PCI", after["0000:03:00.0"])
    assert (row.other_config, row.driver_name) == ({"mine": "1"}, "vfio")


def test_another_card_at_the_same_place_is_another_record(db: Database, host: Ref):
    before = refresh(db, host, device("0000:03:00.0"))
    assert refresh(db, host, device("0000:03:00.0", device_id="1572")) != before


def test_other_hosts_records_are_left_alone(db: Database, host: Ref):
    with db.transaction() as tx:
        other = tx.create("PCI", {"host": tx.create("host", {}), "pci_id": "0000:03:00.0"})
    refresh(db, host)
    assert [row.ref for row in db.rows("PCI")] == [other]
