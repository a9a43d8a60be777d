"""Event batches on the wire: one encoding for all clients that get the same batch."""

from typing import Any

from xapi_py.event.events import Batch, Event
from xapi_py.event.old_style import OldEvent
from xapi_py.event.subscription import format_token
from xapi_py.wire.dialect import Dialect


def encode_batch(dialect: Dialect, batch: Batch) -> list[bytes]:
    """Encode the answer of ``event.from``; kept with the batch."""
    chunks = batch.encoded.get(dialect)
    if chunks is None:
        chunks = batch.encoded[dialect] = dialect.struct(
            [
                ("events", dialect.array([_event(dialect, e) for e in batch.events])),
                (
                    "valid_ref_counts",
                    dialect.struct([(n, [dialect.typed_int(c)]) for n, c in batch.counts.items()]),
                ),
                ("token", [dialect.text(format_token(batch.generation))]),
            ]
        )
    return chunks


def encode_old_events(dialect: Dialect, events: list[OldEvent]) -> list[bytes]:
    """Encode the answer of ``event.next``."""
    return dialect.array([_old_event(dialect, e) for e in events])


def _event(dialect: Dialect, event: Event) -> list[bytes]:
    members: list[tuple[str, list[bytes]]] = [
        ("id", [dialect.text(str(event.generation))]),
        ("timestamp", [dialect.text("0.0")]),
        ("class", [dialect.text(event.cls.lower())]),
        ("operation", [dialect.text(event.operation)]),
        ("ref", [dialect.text(event.ref)]),
    ]
    if event.row is not None:
        members.append(("snapshot", [dialect.record(event.row)]))
    return dialect.struct(members)


def _old_event(dialect: Dialect, event: OldEvent) -> list[bytes]:
    snapshot: Any = event.snapshots.get(dialect) or dialect.record_of(event.cls, event.record)
    event.snapshots[dialect] = snapshot
    return dialect.struct(
        [
            ("id", [dialect.text(str(event.generation))]),
            ("timestamp", [dialect.text(str(event.timestamp))]),
            ("class", [dialect.text(event.cls.lower())]),
            ("operation", [dialect.text(event.operation)]),
            ("ref", [dialect.text(event.ref)]),
            ("snapshot", [snapshot]),
        ]
    )
