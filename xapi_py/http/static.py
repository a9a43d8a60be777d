"""Serve the files below one folder."""

import mimetypes
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

from xapi_py.http.messages import HttpError, Request, Response, StreamingResponse

_BLOCK_BYTES: Final = 64 * 1024
_TYPES: Final = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


class StaticFiles:
    """Answers GET with files below ``root``, ``index.html`` for folders.

    Nothing outside is served, also not through links.  Without the folder
    every path is forbidden, as on a host without web pages.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, request: Request) -> Response | StreamingResponse:
        try:
            root = self._root.resolve(strict=True)
        except (OSError, RuntimeError):
            raise HttpError(403) from None
        file, suffix = _open_below(root, request.path)
        size = os.fstat(file.fileno()).st_size
        headers = (("Content-Type", _type_of(suffix)), ("X-Content-Type-Options", "nosniff"))
        if size <= _BLOCK_BYTES:
            with file:
                return Response(200, (file.read(),), headers)
        return StreamingResponse(_blocks(file), headers=headers, length=size)


def _open_below(root: Path, untrusted_path: str) -> tuple[BinaryIO, str]:
    """Open the regular file a path names, and give its suffix.

    Errors: HttpError 403 for anything outside the root, 404 for no file.
    """
    if "\0" in untrusted_path or ".." in untrusted_path.split("/"):
        raise HttpError(403)
    try:
        path = (root / untrusted_path.lstrip("/")).resolve(strict=True)
        if path.is_dir():
            path = (path / "index.html").resolve(strict=True)
        if not path.is_relative_to(root):
            raise HttpError(403)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, RuntimeError, ValueError):
        raise HttpError(404) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HttpError(404)
    return os.fdopen(descriptor, "rb"), path.suffix


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _type_of(suffix: str) -> str:
    known = _TYPES.get(suffix.lower())
    return known or mimetypes.types_map.get(suffix.lower(), "application/octet-stream")
