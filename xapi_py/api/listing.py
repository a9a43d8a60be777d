"""Records of many objects, encoded in slices and yet as they all were at one moment.

An object that is about to change before its turn is encoded first, so the
answer shows no change made after the call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from xapi_py.base.names import Ref
from xapi_py.base.slices import Steps
from xapi_py.datamodel.model import Model, SetOf, String
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.wire.dialect import Dialect

AT_ONCE: Final = 32
"""Objects between two interruptions; an answer of no more is not interrupted."""

REFS_AT_ONCE: Final = 1000
_REFS: Final = SetOf(String())


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The objects of one class that pass a test."""

    db: Database
    cls: str
    rows: Sequence[Row]
    test: Callable[[Row], bool] | None = None


def encode_listing(
    dialect: Dialect, model: Model, listing: Listing
) -> list[bytes] | Steps[list[bytes]]:
    """Encode the map from reference to record."""
    if len(listing.rows) > AT_ONCE:
        return _encode(dialect, model, listing)
    test = listing.test
    rows = listing.rows if test is None else [row for row in listing.rows if test(row)]
    return dialect.records(rows, model.classes[listing.cls], model)


def encode_refs(
    dialect: Dialect, model: Model, refs: Sequence[Ref]
) -> list[bytes] | Steps[list[bytes]]:
    """Encode the set of many references."""
    if len(refs) > REFS_AT_ONCE:
        return _encode_refs(dialect, refs)
    return [dialect.encode(refs, _REFS)]


def _encode_refs(dialect: Dialect, refs: Sequence[Ref]) -> Steps[list[bytes]]:
    separator, text = dialect.separator, dialect.text
    opening, closing = dialect.array_ends
    chunks = [opening]
    for first in range(0, len(refs), REFS_AT_ONCE):
        some = separator.join([text(ref) for ref in refs[first : first + REFS_AT_ONCE]])
        chunks += (some, separator)
        yield
    chunks[-1] = closing
    return chunks


def _encode(dialect: Dialect, model: Model, listing: Listing) -> Steps[list[bytes]]:
    cls, test, rows = listing.cls, listing.test, listing.rows
    class_def = model.classes[cls]
    early: dict[Row, bytes | None] = {}

    def fragment(row: Row) -> bytes | None:
        if test is not None and not test(row):
            return None
        return dialect.listed(row, class_def, model)

    def keep(row: Row) -> None:
        if row.api_class == cls and row not in early:
            early[row] = fragment(row)

    opening, closing = dialect.struct_ends
    chunks = [opening]
    listing.db.before_change.append(keep)
    try:
        for first in range(0, len(rows), AT_ONCE):
            found = [
                (row.ref, early[row] if row in early else fragment(row))
                for row in rows[first : first + AT_ONCE]
            ]
            members = [(ref, text) for ref, text in found if text is not None]
            if members:
                chunks += (dialect.members(members), dialect.separator)
            yield
    finally:
        listing.db.before_change.remove(keep)
    if len(chunks) > 1:
        chunks.pop()  # the last separator
    chunks.append(closing)
    return chunks
