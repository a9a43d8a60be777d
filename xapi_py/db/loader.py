"""Building the tables from what an engine keeps."""

import logging
from collections.abc import Callable

from xapi_py.base.names import NULL_REF
from xapi_py.db.engines.engine import Stored, StoredRow
from xapi_py.db.schema import SINGLE
from xapi_py.db.storage import Link, RowCodec
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
    by_class: dict[str, list[StoredRow]] = {}
    for row in sorted(stored.rows, key=lambda r: r.created):
        by_class.setdefault(row.cls, []).append(row)
    links: list[Link] = []
    for cls, rows in by_class.items():
        codec = codecs.get(cls)
        if codec is None:
            log.warning("the database holds %d objects of unknown class %s", len(rows), cls)
            continue
        table = tables[cls]
        table.adopt(codec.load(table, row, links) for row in rows)
    for table in tables.values():
        _link_singles(table, tables, next_position)
    for link in links:
        _link_mutual(link, tables, next_position)


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


def _link_mutual(link: Link, tables: dict[str, Table], next_position: Callable[[], int]) -> None:
    """Put members in, and the holder into the collection of each member.

    One end may have been stored without the other, so both count.
    """
    column, holder, members = link
    table, target = tables[column.cls], tables[column.target]
    other = target.columns[column.other]
    for member in members:
        for place, owner, at, new in (
            (table, holder, column, member),
            (target, member, other, holder),
        ):
            collection = place.collection(owner, at)
            if collection is None or new not in collection:
                place.add_member(owner, at, new, next_position())
