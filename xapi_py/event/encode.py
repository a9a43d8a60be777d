"""Event batches on the wire: one encoding for all clients that get the same batch."""

from xapi_py.datamodel.model import Model, RecordOf
from xapi_py.event.events import Batch, Event
from xapi_py.event.old_style import OldEvent
from xapi_py.event.subscription import format_token
from xapi_py.wire.dialect import Dialect


def encode_batch(dialect: Dialect, model: Model, batch: Batch) -> list[bytes]:
    """Encode the answer of ``event.from``; kept with the batch."""
    chunks = batch.encoded.get(dialect)
    if chunks is None:
        events = dialect.array([_event(dialect, model, e) for e in batch.events])
        counts = dialect.struct([(n, dialect.count(c)) for n, c in batch.counts.items()])
        joined = dialect.struct(
            [
                ("events", b"".join(events)),
                ("valid_ref_counts", b"".join(counts)),
                ("token", dialect.text(format_token(batch.generation))),
            ]
        )
        chunks = batch.encoded[dialect] = [b"".join(joined)]
    return chunks


def encode_old_events(dialect: Dialect, model: Model, events: list[OldEvent]) -> list[bytes]:
    """Encode the answer of ``event.next``."""
    return dialect.array([_old_event(dialect, model, e) for e in events])


def _event(dialect: Dialect, model: Model, event: Event) -> bytes:
    members: list[tuple[str, bytes]] = [
        ("id", dialect.text(str(event.generation))),
        ("timestamp", dialect.text("0.0")),
        ("class", dialect.text(event.cls.lower())),
        ("operation", dialect.text(event.operation)),
        ("ref", dialect.text(event.ref)),
    ]
    if event.row is not None:
        members.append(("snapshot", dialect.record(event.row, model.classes[event.cls], model)))
    return b"".join(dialect.struct(members))


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
