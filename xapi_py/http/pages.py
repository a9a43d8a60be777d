"""Heads of answers and the pages that go with errors."""

from functools import lru_cache
from html import escape
from typing import Final

from xapi_py.http.messages import REASONS, Headers, Response

_TEXTS: Final = {
    400: "The request could not be understood.",
    401: "Log in with valid credentials and try again.",
    403: "This resource is not for you, or not here.",
    404: "There is no such resource.",
    408: "The request took too long.",
    413: "The request is too long.",
    431: "The headers of the request are too long.",
    500: "The server failed to answer this request. If it goes on, ask your support.",
    501: "The method is not supported.",
    503: "The server cannot answer at present.",
}

CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "X-Requested-With"),
)


@lru_cache(maxsize=256)
def _fixed_head(status: int, headers: tuple[tuple[str, str], ...], connection: str) -> bytes:
    """Give a head up to the length; most answers share a few of them."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}"]
    if connection:
        lines.append(f"Connection: {connection}")
    for name, value in headers:
        line = f"{name}: {value}"
        if "\r" in line or "\n" in line:
            raise ValueError("a header holds a line end")
        lines.append(line)
    return ("\r\n".join(lines) + "\r\n").encode("utf-8", "replace")


def head(status: int, headers: Headers, *, keep_alive: bool, length: int | None) -> bytes:
    """Give status line and headers, the blank line included.

    Errors: ValueError for a header that holds a line end.
    """
    fixed = _fixed_head(status, tuple(headers), "keep-alive" if keep_alive else "close")
    if length is None:
        return fixed + b"\r\n"
    return b"%bContent-Length: %d\r\n\r\n" % (fixed, length)


def takeover_head(status: int, headers: Headers) -> bytes:
    """Give the head after which the connection is no longer HTTP."""
    return _fixed_head(status, tuple(headers), "") + b"\r\n"


def error_page(status: int, detail: str = "", headers: Headers = ()) -> Response:
    """Give the answer for a failed request; it closes the connection."""
    reason = REASONS.get(status, "Unknown")
    text = f"<html><body><h1>HTTP {status} {reason}</h1>{_TEXTS.get(status, '')}"
    if detail:
        text += f"<h2>Details</h2>{escape(detail[:2000])}"
    body = (text + "</body></html>").encode("utf-8", "replace")
    return Response(
        status,
        (body,),
        (("Content-Type", "text/html"), ("Cache-Control", "no-cache, no-store"), *headers),
        close=True,
    )


def preflight(requested_headers: str) -> Response:
    """Give the answer to OPTIONS; it lets pages of any origin call."""
    allowed = ", ".join(filter(None, (requested_headers, "X-Requested-With")))
    return Response(
        200,
        (),
        (
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Headers", allowed),
            ("Access-Control-Allow-Methods", "PUT"),
        ),
    )
