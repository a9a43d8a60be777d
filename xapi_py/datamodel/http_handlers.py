"""HTTP entry points: who may use which path."""

from collections.abc import Iterator

from xapi_py.datamodel.model import HttpHandler, Model


def permission_of(handler: HttpHandler, sub_action: str = "") -> str:
    """Name the permission a request needs, in lower case.

    A sub-action without a permission of its own needs that of the handler.
    """
    if sub_action in handler.sub:
        return f"http/{handler.name}/{sub_action}".lower()
    return f"http/{handler.name}".lower()


def find_handler(model: Model, method: str, path: str) -> HttpHandler | None:
    """Give the handler with the longest path that begins ``path``.

    A path matches whole segments only.  ``None`` when no handler has it, not
    even the root.
    """
    fitting = [h for h in _of_method(model, method) if _begins(path, h.path)]
    return max(fitting, key=lambda h: len(h.path), default=None)


def _of_method(model: Model, method: str) -> Iterator[HttpHandler]:
    return (h for h in model.http_handlers.values() if h.method == method)


def _begins(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")
