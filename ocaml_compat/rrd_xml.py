"""Metrics as clients read them: whole archives (rrd) and excerpts (xport), XML and JSON.

Numbers have up to 15 significant digits; zero is ``0.0``, and there are
``NaN``, ``Infinity`` and ``-Infinity``.  There is no white space between
elements.  A whole archive lists its rows oldest first, an excerpt newest first.
Source: brief POOL 14; xapi-project/xen-api, ocaml/libs/xapi-rrd.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from xml.parsers import expat
from xml.sax.saxutils import escape

VERSION: Final = "0003"
Kind = Literal["GAUGE", "ABSOLUTE", "DERIVE"]
Rows = Sequence[Sequence[float]]


class RrdError(ValueError):
    """The text is no archive."""


@dataclass(frozen=True, slots=True)
class Source:
    """A quantity; ``last`` is the last reading, of a counter not its rate."""

    name: str
    kind: Kind = "GAUGE"
    heartbeat: float = 300.0
    low: float = -math.inf
    high: float = math.inf
    last: float = math.nan


@dataclass(frozen=True, slots=True)
class Archive:
    """Rows of one resolution, oldest first, one value for each source.

    ``totals`` and ``unknown`` are of the row that is not complete yet.
    """

    function: str
    points: int
    rows: Rows
    totals: Sequence[float] = ()
    unknown: Sequence[int] = ()
    xff: float = 0.5


@dataclass(frozen=True, slots=True)
class Rrd:
    """A whole archive; times are unix seconds."""

    step: int
    updated: int
    sources: Sequence[Source]
    archives: Sequence[Archive]


@dataclass(frozen=True, slots=True)
class Xport:
    """An excerpt: rows newest first, each with its time."""

    start: int
    step: int
    end: int
    legend: Sequence[str]
    times: Sequence[int] = ()
    rows: Rows = field(default=())


def number(value: float) -> str:
    """Write a number."""
    if value == 0.0:
        return "0.0"
    if math.isfinite(value):
        return f"{value:.15g}"
    return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")


def render(rrd: Rrd) -> Iterator[str]:
    """Write a whole archive, piece by piece."""
    yield f"<rrd><version>{VERSION}</version><step>{rrd.step}</step>"
    yield f"<lastupdate>{rrd.updated}</lastupdate>"
    for source in rrd.sources:
        yield (
            f"<ds><name>{escape(source.name)}</name><type>{source.kind}</type>"
            f"<minimal_heartbeat>{number(source.heartbeat)}</minimal_heartbeat>"
            f"<min>{number(source.low)}</min><max>{number(source.high)}</max>"
            f"<last_ds>{number(source.last)}</last_ds><value>0.0</value>"
            "<unknown_sec>0</unknown_sec></ds>"
        )
    for archive in rrd.archives:
        yield (
            f"<rra><cf>{archive.function}</cf><pdp_per_row>{archive.points}</pdp_per_row>"
            f"<params><xff>{number(archive.xff)}</xff></params><cdp_prep>"
        )
        for total, unknown in _prepared(archive, len(rrd.sources)):
            yield (
                "<ds><primary_value>0.0</primary_value><secondary_value>0.0</secondary_value>"
                f"<value>{number(total)}</value><unknown_datapoints>{unknown}"
                "</unknown_datapoints></ds>"
            )
        yield "</cdp_prep><database>"
        for row in archive.rows:
            yield f"<row>{''.join(f'<v>{number(v)}</v>' for v in row)}</row>"
        yield "</database></rra>"
    yield "</rrd>"


def _prepared(archive: Archive, count: int) -> list[tuple[float, int]]:
    totals = archive.totals or [0.0] * count
    return list(zip(totals, archive.unknown or [0] * count, strict=True))


def render_json(rrd: Rrd) -> Iterator[str]:
    """Write a whole archive as JSON; values are texts."""
    head = {
        "version": VERSION,
        "step": str(rrd.step),
        "lastupdate": str(rrd.updated),
        "ds": [
            {"name": s.name, "type": s.kind, "minimal_heartbeat": number(s.heartbeat)}
            | {"min": number(s.low), "max": number(s.high), "last_ds": number(s.last)}
            | {"value": "0.0", "unknown_sec": "0"}
            for s in rrd.sources
        ],
    }
    yield json.dumps(head)[:-1] + ', "rra": ['
    for position, archive in enumerate(rrd.archives):
        about = {"cf": archive.function, "pdp_per_row": str(archive.points)}
        prepared = {"params": {"xff": number(archive.xff)}, "cdp_prep": {"ds": list[str]()}}
        opened = json.dumps({**about, **prepared})[:-1]
        yield (", " if position else "") + opened + ', "database": ['
        for count, row in enumerate(archive.rows):
            yield (", " if count else "") + json.dumps([number(v) for v in row])
        yield "]}"
    yield "]}"


def xport_xml(xport: Xport) -> Iterator[str]:
    """Write an excerpt, piece by piece."""
    entries = "".join(f"<entry>{escape(entry)}</entry>" for entry in xport.legend)
    yield (
        f"<xport><meta><start>{xport.start}</start><step>{xport.step}</step>"
        f"<end>{xport.end}</end><rows>{len(xport.rows)}</rows>"
        f"<columns>{len(xport.legend)}</columns><legend>{entries}</legend></meta><data>"
    )
    for time, row in zip(xport.times, xport.rows, strict=True):
        values = "</v><v>".join(map(number, row))
        inner = f"<v>{values}</v>" if len(row) else ""
        yield f"<row><t>{time}</t>{inner}</row>"
    yield "</data></xport>"


def xport_json(xport: Xport) -> Iterator[str]:
    """Write an excerpt as JSON; times are numbers, values texts."""
    meta = {
        **{"start": xport.start, "step": xport.step, "end": xport.end},
        **{"rows": len(xport.rows), "columns": len(xport.legend), "legend": list(xport.legend)},
    }
    yield f'{{"meta": {json.dumps(meta)}, "data": ['
    for count, (time, row) in enumerate(zip(xport.times, xport.rows, strict=True)):
        values = '", "'.join(map(number, row))
        inner = f'"{values}"' if len(row) else ""
        yield f'{", " if count else ""}{{"t": {time}, "values": [{inner}]}}'
    yield "]}"


def parse(document: bytes) -> Rrd:
    """Read a whole archive.

    Errors: RrdError; rows of another length than there are sources are one.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
        return reader.result()
    except expat.ExpatError as error:
        raise RrdError(f"not XML: {error}") from error
    except (KeyError, IndexError, OverflowError, ValueError) as error:
        if isinstance(error, RrdError):
            raise
        raise RrdError(f"no archive: {error!r}") from error


_KINDS: Final[dict[str, Kind]] = {"GAUGE": "GAUGE", "ABSOLUTE": "ABSOLUTE", "DERIVE": "DERIVE"}
_FLOAT: Final = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|NaN|nan|Infinity|inf)", re.ASCII)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text.strip()):
        raise RrdError(f"not a number: {text[:40]!r}")
    return float(text)


class _Reader:
    """Collects elements as the document streams through."""

    def __init__(self) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        self.parser = parser
        self._path: list[str] = []
        self._text: list[str] = []
        self._top: dict[str, str] = {}
        self._plain: dict[str, str] = {}
        self._sources: list[Source] = []
        self._archives: list[Archive] = []
        self._rows: list[list[float]] = []
        self._row: list[float] = []
        self._totals: list[float] = []
        self._unknown: list[int] = []

    def result(self) -> Rrd:
        updated = int(_float(self._top["lastupdate"]))
        return Rrd(int(_float(self._top["step"])), updated, self._sources, self._archives)

    def _entity(self, *declaration: object) -> None:
        raise RrdError("entities are not allowed")

    def _characters(self, text: str) -> None:
        self._text.append(text)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._path) > 16:
            raise RrdError("nested too deep")
        self._path.append(tag)
        self._text.clear()
        if self._path in (["rrd", "ds"], ["rrd", "rra"]):
            self._plain = {}
            self._rows, self._totals, self._unknown = [], [], []
        elif tag == "row":
            self._row = []

    def _end(self, tag: str) -> None:
        path = tuple(self._path)
        self._path.pop()
        text = "".join(self._text)
        self._text.clear()
        match path:
            case ("rrd", "ds"):
                self._sources.append(self._source())
            case ("rrd", "rra"):
                self._archives.append(self._archive())
            case ("rrd", "rra", "database", "row"):
                if len(self._row) != len(self._sources):
                    raise RrdError("a row of another length")
                self._rows.append(self._row)
            case ("rrd", "rra", "database", "row", "v"):
                self._row.append(_float(text))
            case ("rrd", "rra", "cdp_prep", "ds", "value"):
                self._totals.append(_float(text))
            case ("rrd", "rra", "cdp_prep", "ds", "unknown_datapoints"):
                self._unknown.append(int(_float(text)))
            case ("rrd", "ds", name) | ("rrd", "rra", name) | ("rrd", "rra", "params", name):
                self._plain[name] = text
            case ("rrd", name):
                self._top[name] = text

    def _source(self) -> Source:
        plain = self._plain
        return Source(
            plain["name"],
            _KINDS[plain["type"].strip()],
            _float(plain.get("minimal_heartbeat", "300")),
            _float(plain.get("min", "-Infinity")),
            _float(plain.get("max", "Infinity")),
            _float(plain.get("last_ds", "NaN")) if plain.get("last_ds", "U") != "U" else math.nan,
        )

    def _archive(self) -> Archive:
        plain = self._plain
        return Archive(
            plain["cf"].strip(),
            int(_float(plain["pdp_per_row"])),
            self._rows,
            self._totals,
            self._unknown,
            _float(plain.get("xff", "0.5")),
        )
