"""Which handler answers which method and path."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from xapi_py.http.messages import Answer, Request

Handler = Callable[[Request], Awaitable[Answer] | Answer]


class ContentHandler(Protocol):
    """Answers requests whose whole body is collected first (RPC)."""

    limit_bytes: int

    def answer(self, request: Request) -> Awaitable[Answer] | Answer:
        """Answer a request; ``request.content`` is its body."""


@dataclass(frozen=True, slots=True)
class Route:
    """One entry: ``handler`` streams its body unless it is a ContentHandler."""

    method: str
    prefix: str
    name: str
    handler: Handler | None = None
    content: ContentHandler | None = None


class Routes:
    """Routes by method; the longest prefix of the path wins.

    Prefixes need not end at a slash: ``/export`` also answers ``/exportx``.
    """

    def __init__(self) -> None:
        self._by_method: dict[str, list[Route]] = {}
        self._exact: dict[tuple[str, str], Route] = {}

    def add(self, method: str, prefix: str, handler: Handler, *, name: str = "") -> None:
        """Have ``handler`` answer; it may read the body as a stream."""
        self._add(Route(method, prefix, name or f"{method.lower()}{prefix}", handler))

    def add_content(
        self, method: str, prefix: str, handler: ContentHandler, *, name: str = ""
    ) -> None:
        """Have ``handler`` answer once the whole body is there."""
        self._add(Route(method, prefix, name or f"{method.lower()}{prefix}", content=handler))

    def find(self, method: str, path: str) -> Route | None:
        """Give the route of a request."""
        route = self._exact.get((method, path))
        if route is not None:
            return route
        for candidate in self._by_method.get(method, ()):
            if path.startswith(candidate.prefix):
                return candidate
        return None

    def _add(self, route: Route) -> None:
        key = (route.method, route.prefix)
        if key in self._exact:
            raise ValueError(f"two routes for {route.method} {route.prefix}")
        self._exact[key] = route
        routes = self._by_method.setdefault(route.method, [])
        routes.append(route)
        routes.sort(key=lambda r: -len(r.prefix))
