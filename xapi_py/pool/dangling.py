"""Rows that nothing owns any more, and references to what is gone.

A pass looks only at classes whose owners lost a row since the last pass, so
an idle pass costs nothing, and it is made in slices: others get their turn
meanwhile.  Source: brief POOL 7.2.
"""

from collections.abc import Iterator, Sequence

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.slices import Steps
from xapi_py.db.database import Database
from xapi_py.db.row import Row

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


AT_ONCE = 500
"""Rows looked at between two interruptions."""


class DanglingRows:
    """Finds and removes them; keeps where the last pass stopped."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._seen = db.generation

    def tidy(self) -> Steps[None]:
        """Make one pass.  Linear in the classes whose owners lost rows."""
        since, self._seen = self._seen, self._db.generation
        lost = {
            cls: self._lost(cls, since)
            for cls in {rule[-1] for rule in (*OWNED, *CLEARED)} | {rule[1] for rule in METRICS}
        }
        if any(lost.values()):
            yield from self._remove_owned(lost)
            yield from self._remove_metrics(lost)
            yield from self._clear(lost)

    def _lost(self, cls: str, since: int) -> frozenset[str]:
        return frozenset(entry[0] for entry in self._db.changes(cls, since).deleted)

    def _few(self, refs: Sequence[Ref], cls: str) -> Iterator[list[Row]]:
        """Give the rows of references, as far as they are still there, some at a time."""
        for first in range(0, len(refs), AT_ONCE):
            some = refs[first : first + AT_ONCE]
            yield [row for ref in some if (row := self._db.find(cls, ref)) is not None]

    def _remove_owned(self, lost: dict[str, frozenset[str]]) -> Steps[None]:
        for cls, field, owner in OWNED:
            gone = lost[owner]
            for rows in self._few(self._db.refs(cls), cls) if gone else ():
                with self._db.transaction() as tx:
                    for row in rows:
                        if getattr(row, field) in gone:
                            tx.delete(cls, row.ref)
                yield
        for rows in self._few(self._db.refs("VBD"), "VBD") if lost["VDI"] else ():
            with self._db.transaction() as tx:
                for row in rows:
                    if row.VDI in lost["VDI"]:
                        tx.update("VBD", row.ref, VDI=NULL_REF, empty=True)
            yield

    def _remove_metrics(self, lost: dict[str, frozenset[str]]) -> Steps[None]:
        for cls, owner, field in METRICS:
            if not lost[owner]:
                continue
            candidates = self._db.refs(cls)  # first: what is made meanwhile is none
            used: set[str] = set()
            for rows in self._few(self._db.refs(owner), owner):
                used.update(getattr(row, field) for row in rows)
                yield
            for rows in self._few([ref for ref in candidates if ref not in used], cls):
                with self._db.transaction() as tx:
                    for row in rows:
                        tx.delete(cls, row.ref)
                yield

    def _clear(self, lost: dict[str, frozenset[str]]) -> Steps[None]:
        for cls, field, target in CLEARED:
            for rows in self._few(self._db.refs(cls), cls) if lost[target] else ():
                with self._db.transaction() as tx:
                    for row in rows:
                        if getattr(row, field) in lost[target]:
                            tx.set(cls, row.ref, field, NULL_REF)
                yield
