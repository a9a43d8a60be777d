"""What the storage daemon says about SRs and disks, written into the database.

The daemon is right about what is on the medium (sizes, flags, snapshot links,
names); other_config, tags and the like are the database's own.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xapi_py.base.names import NULL_REF, Ref, ref_of_uuid
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction

Record = Mapping[str, Any]

_SAME_NAME = (
    "name_label",
    "name_description",
    "location",
    "type",
    "sharable",
    "read_only",
    "managed",
    "missing",
    "virtual_size",
    "physical_utilisation",
    "cbt_enabled",
    "is_a_snapshot",
    "snapshot_time",
)
_OWNED_KEYS = frozenset({"vhd-parent", "vdi_type", "type", "vhd-blocks", "paused", "activating"})
_OWNED_PREFIX = "host_"

_expected: set[str] = set()


@contextmanager
def expecting(uuid: str) -> Iterator[None]:
    """Keep the update consumer from making the row of a disk whose maker will make it.

    The maker's row carries fields the daemon does not know, and becomes
    durable together with what the maker writes in the same turn.
    """
    _expected.add(uuid)
    try:
        yield
    finally:
        _expected.discard(uuid)


def find_uuid(db: Database, cls: str, uuid: str) -> Ref | None:
    """Find an object by uuid; None when there is none."""
    return db.tables[cls].uuids.get(uuid)


def put_sr(tx: Transaction, row: Row, stat: Record) -> None:
    """Write sizes and sm_config of an SR."""
    tx.update(
        "SR",
        row.ref,
        physical_size=stat["physical_size"],
        physical_utilisation=stat["physical_utilisation"],
        virtual_allocation=stat["virtual_allocation"],
        clustered=stat["clustered"],
        sm_config={**row.sm_config, **stat["sm_config"]},
    )


def put_vdi(
    db: Database,
    tx: Transaction,
    sr: Row,
    record: Record,
    fresh: Mapping[str, Any] | None = None,
    batch: Collection[str] = (),
) -> Ref:
    """Make or refresh the row of a disk and give its reference.

    ``fresh`` are fields only the database knows; ``batch`` the uuids of disks
    whose rows come in the same transaction, for links between them.
    """
    known = find_uuid(db, "VDI", record["uuid"])
    row = None if known is None else db.row("VDI", known)
    fields = {**_values(db, row, record, batch), "SR": sr.ref}
    fields["is_tools_iso"] = sr.is_tools_sr and fields["sm_config"].get("xs-tools") == "true"
    if row is not None:
        tx.update("VDI", row.ref, **{**fields, **(fresh or {})})
        return row.ref
    identity = {"uuid": record["uuid"], "ref": ref_of_uuid(record["uuid"])}
    xenstore = {"xenstore_data": dict(record["xenstore_data"])}
    return tx.create("VDI", {**xenstore, **fields, **(fresh or {}), **identity})


def _values(
    db: Database, row: Row | None, record: Record, batch: Collection[str]
) -> dict[str, Any]:
    fields: dict[str, Any] = {name: record[name] for name in _SAME_NAME}
    fields["on_boot"] = "persist" if record["persistent"] else "reset"
    fields["snapshot_of"] = _link(db, record["snapshot_of"], batch)
    fields["parent"] = _link(db, record["parent"], batch)
    fields["metadata_of_pool"] = (
        find_uuid(db, "pool", record["metadata_of_pool"]) or NULL_REF
        if record["metadata_of_pool"]
        else NULL_REF
    )
    old = {} if row is None else row.sm_config
    kept = {k: v for k, v in old.items() if k not in _OWNED_KEYS and k[:5] != _OWNED_PREFIX}
    fields["sm_config"] = {**kept, **record["sm_config"]}
    return fields


def _link(db: Database, uuid: str, batch: Collection[str]) -> Ref:
    if not uuid:
        return NULL_REF
    if uuid in batch:
        return find_uuid(db, "VDI", uuid) or ref_of_uuid(uuid)
    return find_uuid(db, "VDI", uuid) or NULL_REF


def remove_vdi(db: Database, tx: Transaction, vdi: Row) -> None:
    """Delete a disk's row with what hangs on it: VBDs go, drives become empty."""
    for ref in tuple(vdi.VBDs):
        vbd = db.row("VBD", ref)
        if vbd.type == "CD":
            tx.update("VBD", ref, VDI=NULL_REF, empty=True)
            continue
        if db.find("VBD_metrics", vbd.metrics) is not None:
            tx.delete("VBD_metrics", vbd.metrics)
        tx.delete("VBD", ref)
    for ref in tuple(vdi.crash_dumps):
        tx.delete("crashdump", ref)
    for ref in tuple(vdi.snapshots):
        tx.set("VDI", ref, "snapshot_of", NULL_REF)
    tx.delete("VDI", vdi.ref)


def put_scan(db: Database, sr: Ref, stat: Record, records: Iterable[Record], since: int) -> None:
    """Bring all disks of an SR in step with a complete list of them.

    ``since`` is the database's generation when the list was asked for: rows
    that came, changed or went after it are newer than the list and stay.
    Nothing is written for what is right already.
    """
    row = db.find("SR", sr)
    if row is None:
        return
    by_uuid = {r["uuid"]: r for r in records}
    gone = {ref for ref, *_ in db.changes("VDI", since).deleted}
    with db.transaction() as tx:
        put_sr(tx, row, stat)
        for ref in tuple(row.VDIs):
            vdi = db.row("VDI", ref)
            if vdi.uuid not in by_uuid and vdi.created_generation <= since:
                remove_vdi(db, tx, vdi)
        for uuid, record in by_uuid.items():
            known = find_uuid(db, "VDI", uuid)
            newer = known is not None and db.row("VDI", known).modified > since
            if not newer and uuid not in _expected and ref_of_uuid(uuid) not in gone:
                put_vdi(db, tx, row, record, batch=by_uuid)


def put_changes(
    db: Database, sr: str, stat: Record | None, vdis: Mapping[str, Record | None]
) -> None:
    """Write what became of an SR and some disks of it; None stands for a disk that is gone.

    An SR without a row is none of ours.
    """
    ref = find_uuid(db, "SR", sr)
    if ref is None:
        return
    row = db.row("SR", ref)
    with db.transaction() as tx:
        if stat is not None:
            put_sr(tx, row, stat)
        for uuid, record in vdis.items():
            if uuid in _expected:
                continue
            if record is not None:
                put_vdi(db, tx, row, record, batch=vdis)
                continue
            known = find_uuid(db, "VDI", uuid)
            if known is not None and known in row.VDIs:
                remove_vdi(db, tx, db.row("VDI", known))
