"""Building the tables from what an engine keeps."""

import logging
from collections.abc import Callable

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.engines.engine import Stored
from xapi_py.db.schema import MUTUAL, SINGLE
from xapi_py.db.storage import RowCodec
from xapi_py.db.table import Table

log = logging.getLogger(__name__)


def load_tables(
    stored: Stored,
    tables: dict[str, Table],
    codecs: dict[str, RowCodec],
    next_position: Callable[[], int],
) -> None:
    """Fill empty tables.  Linear in the number of objects.

    Classes the model does not know are left out and logged.
    Raises ``CorruptDatabase``.
    """
    by_class: dict[str, list[int]] = {}
    rows = sorted(stored.rows, key=lambda r: r.created)
    for position, row in enumerate(rows):
        by_class.setdefault(row.cls, []).append(position)
    for cls, positions in by_class.items():
        table = tables.get(cls)
        if table is None or not table.persist:
            log.warning("the database holds %d objects of unknown class %s", len(positions), cls)
            continue
        codec = codecs[cls]
        table.adopt(codec.load(table, rows[i]) for i in positions)
    for table in tables.values():
        _link_singles(table, tables, next_position)
    for cls, positions in by_class.items():
        table = tables.get(cls)
        if table is not None and any(c.kind == MUTUAL for c in table.columns.values()):
            for i in positions:
                for name, refs in codecs[cls].mutual(rows[i]).items():
                    _link_mutual(table, Ref(rows[i].ref), name, refs, tables, next_position)


def _link_singles(table: Table, tables: dict[str, Table], next_position: Callable[[], int]) -> None:
    for column in table.columns.values():
        if column.kind != SINGLE or not column.other or not table.rows:
            continue
        target = tables[column.target]
        other = target.columns[column.other]
        get, add = column.get, target.add_member
        for row in table.rows.values():
            ref = get(row)
            if ref != NULL_REF:
                add(ref, other, row.ref, next_position())


def _link_mutual(
    table: Table,
    ref: Ref,
    name: str,
    refs: list[Ref],
    tables: dict[str, Table],
    next_position: Callable[[], int],
) -> None:
    column = table.columns[name]
    target = tables[column.target]
    other = target.columns[column.other]
    for member in refs:
        for owner_table, owner, at, new in (
            (table, ref, column, member),
            (target, member, other, ref),
        ):
            collection = owner_table.collection(owner, at)
            if collection is None or new not in collection:
                owner_table.add_member(owner, at, new, next_position())
