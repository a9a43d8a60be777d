"""PCI records of this host: its display and network controllers, as they are at every start.

A device keeps its record, and what clients wrote there, as long as it is the same kind of
device at the same address.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.database import Database
from xapi_py.db.transaction import Transaction

RECORDED: Final = frozenset({"02", "03"})
"""Classes of devices that have records: network and display controllers."""


def refresh(db: Database, tx: Transaction, host: Ref, devices: Sequence[Mapping[str, str]]) -> None:
    """Make the records of a host's devices what the machine says; those of gone ones vanish."""
    present = {}
    for row in tuple(db.rows("PCI")):
        if row.host == host:
            present[row.pci_id, row.vendor_id, row.device_id] = row.ref
    functions = _functions(devices)
    records: dict[str, Ref] = {}
    for device in devices:
        if device["class_id"][:2] not in RECORDED:
            continue
        fields = _fields(device, functions)
        found = present.pop((device["address"], device["vendor_id"], device["device_id"]), None)
        if found is None:
            found = tx.create("PCI", {"host": host, **fields})
        else:
            tx.update("PCI", found, **fields)
        records[device["address"]] = found
    for gone in present.values():
        tx.delete("PCI", gone)
    for device in devices:
        if own := records.get(device["address"]):
            physical = records.get(device.get("physical_function", ""), NULL_REF)
            others = (records[a] for a in functions[_slot(device["address"])] if a in records)
            dependencies = tuple(ref for ref in others if ref != own)
            tx.update("PCI", own, physical_function=physical, dependencies=dependencies)


def _slot(address: str) -> str:
    """Give what the functions of one card have in common."""
    return address.rpartition(".")[0]


def _functions(devices: Sequence[Mapping[str, str]]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for device in devices:
        found.setdefault(_slot(device["address"]), []).append(device["address"])
    return found


def _fields(device: Mapping[str, str], functions: Mapping[str, Sequence[str]]) -> dict[str, object]:
    names = (
        *("class_id", "class_name", "vendor_id", "vendor_name", "device_id", "device_name"),
        *("subsystem_vendor_id", "subsystem_vendor_name"),
        *("subsystem_device_id", "subsystem_device_name"),
    )
    return {
        "pci_id": device["address"],
        "functions": len(functions[_slot(device["address"])]),
        "driver_name": device.get("driver", ""),
        **{name: device.get(name, "") for name in names},
    }
