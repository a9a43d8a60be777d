"""Event batches on the wire: one encoding for all clients that get the same batch."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from xapi_py.base.slices import Steps
from xapi_py.datamodel.model import ClassDef, Model, RecordOf
from xapi_py.db.row import Row
from xapi_py.event.events import Batch, Part
from xapi_py.event.old_style import OldEvent
from xapi_py.event.subscription import format_token
from xapi_py.wire.dialect import Dialect

AT_ONCE: Final = 32
"""Events between two interruptions; a batch of no more is not interrupted."""

KEPT_BYTES: Final = 1 << 20
"""Longer answers are not kept for the next client that asks the same."""


def encode_batch(dialect: Dialect, model: Model, batch: Batch) -> list[bytes] | Steps[list[bytes]]:
    """Encode the answer of ``event.from``; a short one is kept with the batch.

    An object that changes while a long answer is made may appear as it is
    then; the change itself comes as an event after the token.
    """
    chunks = batch.encoded.get(dialect)
    if chunks is not None:
        return chunks
    steps = _encode(dialect, model, batch)
    if len(batch) > AT_ONCE:
        return steps
    while True:
        try:
            next(steps)
        except StopIteration as over:
            found: list[bytes] = over.value
            return found


def _encode(dialect: Dialect, model: Model, batch: Batch) -> Steps[list[bytes]]:
    (opening, closing), separator = dialect.array_ends, dialect.separator
    events = [opening]
    encode_row = dialect.record if len(batch) <= AT_ONCE else dialect.listed
    for part in batch.parts:
        texts = _events_of(dialect, model, part, encode_row)
        while some := list(islice(texts, AT_ONCE)):
            events += (separator.join(some), separator)
            yield
    if len(events) > 1:
        events.pop()  # the last separator
    events.append(closing)
    rest = [
        ("valid_ref_counts", _counts(dialect, batch.counts)),
        ("token", dialect.text(format_token(batch.generation))),
    ]
    before, after = dialect.members([("events", _HOLE), *rest]).split(_HOLE)
    chunks = [dialect.struct_ends[0] + before, *events, after + dialect.struct_ends[1]]
    if sum(map(len, chunks)) <= KEPT_BYTES:
        chunks = batch.encoded[dialect] = [b"".join(chunks)]
    return chunks


_last_counts: dict[Dialect, tuple[dict[str, int], bytes]] = {}


def _counts(dialect: Dialect, counts: dict[str, int]) -> bytes:
    """Encode the counts, which seldom change from one batch to the next."""
    known = _last_counts.get(dialect)
    if known is None or known[0] != counts:
        text = b"".join(dialect.struct([(n, dialect.count(c)) for n, c in counts.items()]))
        known = _last_counts[dialect] = (counts, text)
    return known[1]


_HOLE: Final = b"\0"
"""Stands where the events go; no fragment can hold it."""


def _events_of(
    dialect: Dialect,
    model: Model,
    part: Part,
    encode_row: Callable[[Row, ClassDef, Model], bytes],
) -> Iterator[bytes]:
    """Encode the events of a part, one after the other."""
    class_def = model.classes[part.cls]
    same = [
        ("timestamp", dialect.text("0.0")),
        ("class", dialect.text(part.cls.lower())),
        ("operation", dialect.text(part.operation)),
    ]
    text = dialect.text
    for row in part.rows:
        yield b"".join(
            dialect.struct(
                [
                    ("id", text(str(row.modified))),
                    *same,
                    ("ref", text(row.ref)),
                    ("snapshot", encode_row(row, class_def, model)),
                ]
            )
        )
    for ref, generation in part.gone:
        yield b"".join(dialect.struct([("id", text(str(generation))), *same, ("ref", text(ref))]))


def encode_old_events(
    dialect: Dialect, model: Model, events: list[OldEvent]
) -> list[bytes] | Steps[list[bytes]]:
    """Encode the answer of ``event.next``."""
    if len(events) > AT_ONCE:
        return _encode_old_events(dialect, model, events)
    return dialect.array([_old_event(dialect, model, e) for e in events])


def _encode_old_events(
    dialect: Dialect, model: Model, events: list[OldEvent]
) -> Steps[list[bytes]]:
    (opening, closing), separator = dialect.array_ends, dialect.separator
    chunks = [opening]
    for first in range(0, len(events), AT_ONCE):
        some = [_old_event(dialect, model, e) for e in events[first : first + AT_ONCE]]
        chunks += (separator.join(some), separator)
        yield
    chunks[-1] = closing
    return chunks


def _old_event(dialect: Dialect, model: Model, event: OldEvent) -> bytes:
    snapshot = event.snapshots.get(dialect)
    if snapshot is None:
        snapshot = dialect.encode(event.record, RecordOf(event.cls), model)
        event.snapshots[dialect] = snapshot
    return b"".join(
        dialect.struct(
            [
                ("id", dialect.text(str(event.generation))),
                ("timestamp", dialect.text(str(event.timestamp))),
                ("class", dialect.text(event.cls.lower())),
                ("operation", dialect.text(event.operation)),
                ("ref", dialect.text(event.ref)),
                ("snapshot", snapshot),
            ]
        )
    )
