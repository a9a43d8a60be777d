"""Read the head of a request."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import httptools

from xapi_py.http.messages import HttpError, path_of

_FOLD = re.compile(rb"\r\n[ \t]+")
_KEPT_HEADS: Final = 256
"""Heads remembered: a client sends the same one again and again."""


class _Events:
    """What httptools finds."""

    __slots__ = ("chunk", "complete", "headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[str, str] = {}
        self.chunk: Callable[[bytes], None] | None = None
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if self.chunk is not None and not self.complete:
            self.chunk(body)

    def on_message_complete(self) -> None:
        self.complete = True


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and headers; ``upgrade`` if other bytes than HTTP may follow.

    ``path`` is the target without its query, unquoted.
    """

    method: str
    target: str
    path: str
    version: str
    headers: Mapping[str, str]
    keep_alive: bool
    upgrade: bool
    text: bytes

    def chunks(self, feed: Callable[[bytes], None]) -> "ChunkedBody":
        """Give the reader of the chunked body that follows this head."""
        return ChunkedBody(self.text, feed)


class ChunkedBody:
    """Takes the chunks of the body after a head apart."""

    def __init__(self, head: bytes, feed: Callable[[bytes], None]) -> None:
        self._parser, self._events, _ = _parse(head)
        self._events.chunk = feed

    def feed(self, data: bytes) -> bool:
        """Take what arrived; tells whether the body is complete.

        Errors: HttpError 400 for bytes that are no chunks.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # what follows the last chunk is no concern of this body
            if not self._events.complete:
                raise HttpError(400, str(error)) from error
        return self._events.complete


def _parse(text: bytes) -> tuple[Any, _Events, bool]:
    """Give the parser after a head, what it found, and whether other bytes than HTTP follow."""
    events = _Events()
    parser = httptools.HttpRequestParser(events)
    try:
        parser.feed_data(text)
    except httptools.HttpParserUpgrade:
        return parser, events, True
    return parser, events, False


def _with_one_length(text: bytes) -> bytes | None:
    """Give a head that says its length more than once, always the same, with one of them.

    RFC 9112, section 6.3, allows to read it so.  None for any other head.
    """
    lines = text.split(b"\r\n")
    lengths = [n for n, line in enumerate(lines) if line.lower().startswith(b"content-length:")]
    if len(lengths) < 2 or len({lines[n].partition(b":")[2].strip() for n in lengths}) > 1:
        return None
    return b"\r\n".join(line for n, line in enumerate(lines) if n not in lengths[1:])


def parse_head(text: bytes, header_count: int) -> Head:
    """Read a head, its final blank line included.

    Errors: HttpError 501 for unknown methods, 431 for too many headers, 500
    for a bad Content-Length, 400 for anything else that is no HTTP.
    """
    if text.count(b"\r\n") - 2 > header_count:
        raise HttpError(431)
    return _read(text)


@lru_cache(maxsize=_KEPT_HEADS)
def _read(text: bytes) -> Head:
    if b"\r\n " in text or b"\r\n\t" in text:
        text = _FOLD.sub(b" ", text)
    try:
        parser, events, upgrade = _parse(text)
    except httptools.HttpParserInvalidMethodError as error:
        raise HttpError(501, "unknown method") from error
    except httptools.HttpParserError as error:
        once = _with_one_length(text)
        if once is not None:
            return _read(once)
        raise HttpError(500 if "Content-Length" in str(error) else 400, str(error)) from error
    target = events.target.decode("latin-1")
    return Head(
        parser.get_method().decode("latin-1"),
        target,
        path_of(target),
        parser.get_http_version(),
        MappingProxyType(events.headers),
        parser.should_keep_alive() and not upgrade,
        upgrade,
        text,
    )
