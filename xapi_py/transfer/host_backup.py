"""``GET /host_backup`` and ``PUT /host_restore``: what makes this host itself.

A backup is a compressed tar with the database, the host's certificate and its
pool token.  The control domain's own files belong to its system's backup.
"""

import io
import json
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from twisted.internet.threads import deferToThread

from ocaml_compat import state_db
from ocaml_compat.state_db import StateDb, StateDbError
from xapi_py.api.toolstack import Toolstack
from xapi_py.db.xml_database import export_database
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import HttpError, Request, Response, StreamingResponse
from xapi_py.session.sessions import Session
from xapi_py.transfer import restore
from xapi_py.transfer.database import RESTART_S, check_restorable, read_upload

ABOUT = "host-backup.json"
DATABASE = "state.xml"
FILES = ("xapi-ssl.pem", "ptoken")
FORMAT = 1


@entry_point("get_host_backup")
async def get_host_backup(
    toolstack: Toolstack, session: Session, request: Request
) -> StreamingResponse:
    """Send a backup of this host; it has secrets."""
    state = export_database(toolstack.db, toolstack.model.schema_version)
    about = {"format": FORMAT, "host": toolstack.db.row("host", toolstack.localhost).uuid}
    folder = toolstack.settings.state
    content = await deferToThread(_packed, state, about, folder)

    async def whole() -> AsyncIterator[bytes]:
        yield content

    headers = (("Content-Type", "application/x-gzip"),)
    return StreamingResponse(whole(), headers=headers, length=len(content))


@entry_point("put_host_restore")
async def put_host_restore(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Put a backup of this host in its place, and restart.

    Nothing is changed before all of it is here and fits.  Errors: HttpError
    400 for what is no backup of this host, as ``pool-restore-database``.
    """
    content = await read_upload(request)
    files, state = await deferToThread(_unpacked, content)
    check_restorable(toolstack, state)
    folder = toolstack.settings.state
    for name in FILES:
        if name in files:
            restore.replace_file(folder / name, files[name])
    restore.store_upload(folder, files[DATABASE])
    toolstack.clock.callLater(RESTART_S, toolstack.restart)
    return Response(200)


def _packed(state: StateDb, about: dict[str, object], folder: Path) -> bytes:
    files = {ABOUT: json.dumps(about).encode(), DATABASE: b"".join(state_db.render(state))}
    files |= {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return whole.getvalue()


def _unpacked(content: bytes) -> tuple[dict[str, bytes], StateDb]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                data = archive.extractfile(member) if member.isfile() else None
                if data is not None and member.name in (ABOUT, DATABASE, *FILES):
                    files[member.name] = data.read()
        if json.loads(files[ABOUT])["format"] != FORMAT:
            raise HttpError(400, "the backup is of another format")
        return files, state_db.parse(files[DATABASE])
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError, StateDbError) as error:
        raise HttpError(400, f"this is no backup of a host: {error}") from error
