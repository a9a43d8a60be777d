"""Rows that nothing owns any more, and references to what is gone.

A pass looks only at classes whose owners lost a row since the last pass, so
an idle pass costs nothing.  Source: brief POOL 7.2.
"""

from xapi_py.base.names import NULL_REF
from xapi_py.db.database import Database

OWNED: tuple[tuple[str, str, str], ...] = (
    ("VIF", "VM", "VM"),
    ("VIF", "network", "network"),
    ("VBD", "VM", "VM"),
    ("VGPU", "VM", "VM"),
    ("VTPM", "VM", "VM"),
    ("VUSB", "VM", "VM"),
    ("console", "VM", "VM"),
    ("PBD", "host", "host"),
    ("PBD", "SR", "SR"),
    ("host_cpu", "host", "host"),
    ("PCI", "host", "host"),
    ("PGPU", "host", "host"),
    ("PUSB", "host", "host"),
    ("host_crashdump", "host", "host"),
    ("crashdump", "VDI", "VDI"),
    ("PVS_proxy", "VIF", "VIF"),
)
"""Class, its reference, and the class of the owner: gone with the owner."""

METRICS: tuple[tuple[str, str, str], ...] = (
    ("VM_metrics", "VM", "metrics"),
    ("VM_guest_metrics", "VM", "guest_metrics"),
    ("host_metrics", "host", "metrics"),
    ("PIF_metrics", "PIF", "metrics"),
)
"""Class, and the owner's class and reference: gone when nobody refers to it."""

CLEARED: tuple[tuple[str, str, str], ...] = (
    ("VM", "affinity", "host"),
    ("VM", "appliance", "VM_appliance"),
    ("VM", "snapshot_schedule", "VMSS"),
    ("VM", "suspend_SR", "SR"),
    ("pool", "default_SR", "SR"),
    ("pool", "suspend_image_SR", "SR"),
    ("pool", "crash_dump_SR", "SR"),
    ("host", "suspend_image_sr", "SR"),
    ("host", "crash_dump_sr", "SR"),
    ("host", "local_cache_sr", "SR"),
)
"""Class, its reference, and the class referred to: nulled when that is gone."""


class DanglingRows:
    """Finds and removes them; keeps where the last pass stopped."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._seen = db.generation

    def tidy(self) -> None:
        """Make one pass.  Linear in the classes whose owners lost rows."""
        since, self._seen = self._seen, self._db.generation
        lost = {
            cls: self._lost(cls, since)
            for cls in {rule[-1] for rule in (*OWNED, *CLEARED)} | {rule[1] for rule in METRICS}
        }
        if any(lost.values()):
            self._remove_owned(lost)
            self._remove_metrics(lost)
            self._clear(lost)

    def _lost(self, cls: str, since: int) -> frozenset[str]:
        return frozenset(entry[0] for entry in self._db.changes(cls, since).deleted)

    def _remove_owned(self, lost: dict[str, frozenset[str]]) -> None:
        with self._db.transaction() as tx:
            for cls, field, owner in OWNED:
                gone = lost[owner]
                if gone:
                    for row in list(self._db.rows(cls)):
                        if getattr(row, field) in gone:
                            tx.delete(cls, row.ref)
            if lost["VDI"]:
                for row in self._db.rows("VBD"):
                    if row.VDI in lost["VDI"]:
                        tx.update("VBD", row.ref, VDI=NULL_REF, empty=True)

    def _remove_metrics(self, lost: dict[str, frozenset[str]]) -> None:
        with self._db.transaction() as tx:
            for cls, owner, field in METRICS:
                if lost[owner]:
                    used = {getattr(row, field) for row in self._db.rows(owner)}
                    for ref in [row.ref for row in self._db.rows(cls) if row.ref not in used]:
                        tx.delete(cls, ref)

    def _clear(self, lost: dict[str, frozenset[str]]) -> None:
        with self._db.transaction() as tx:
            for cls, field, target in CLEARED:
                if lost[target]:
                    for row in self._db.rows(cls):
                        if getattr(row, field) in lost[target]:
                            tx.set(cls, row.ref, field, NULL_REF)
