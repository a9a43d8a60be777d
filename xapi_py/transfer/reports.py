"""Logs and status reports of this host, for those who look for a fault.

``GET /host_logs_download`` gives a compressed tar of the logs, ``GET
/system-status?entries=...&output=tar|tar.bz2|zip`` the parts that
``host.get_system_status_capabilities`` names.  Secrets are left out.
"""

import io
import json
import re
import tarfile
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

from twisted.internet.threads import deferToThread

from ocaml_compat import state_db
from ocaml_compat.state_db import StateDb, StateRow
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.log import RECENT
from xapi_py.db.xml_database import export_database
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import HttpError, Request, StreamingResponse
from xapi_py.session.sessions import Session

LARGEST_LOG_BYTES = 16 * 1024 * 1024
"""Of a longer log the end is taken."""

BLOCK_BYTES = 256 * 1024
SYSTEM_LOGS = Path("/var/log")
_SYSTEM_LOG_NAMES = ("messages", "syslog", "kern.log", "daemon.log", "xen/*.log", "secure")
_SECRET = re.compile(r"('[^' ]*(?:password|passwd|secret|chap)[^' ]*' ')[^']*'", re.IGNORECASE)
_TYPES = {
    "tar": "application/x-tar",
    "tar.bz2": "application/x-bzip2",
    "zip": "application/zip",
}

Make = Callable[[], bytes]
Files = Iterator[tuple[str, Make]]
"""Names, and what makes the content: in another thread, without the database."""


@entry_point("get_host_logs_download")
async def get_host_logs_download(
    toolstack: Toolstack, session: Session, request: Request
) -> StreamingResponse:
    """Send the logs of this host as tar.gz."""
    files = list(_logs(toolstack))
    content = await deferToThread(_tar, _top("logs"), files, "w:gz")
    return _sent(content, "application/x-gzip")


@entry_point("get_system_status")
async def get_system_status(
    toolstack: Toolstack, session: Session, request: Request
) -> StreamingResponse:
    """Send a status report.  Errors: HttpError 400 for an unknown output."""
    output = request.query.get("output", "tar.bz2") or "tar.bz2"
    if output not in _TYPES:
        raise HttpError(400, "output is one of tar, tar.bz2 and zip")
    wanted = {e.strip() for e in request.query.get("entries", "").split(",") if e.strip()}
    files: list[tuple[str, Make]] = []
    for key, collect in PARTS.items():
        if not wanted or key in wanted:
            files += [(f"{key}/{name}", data) for name, data in collect(toolstack)]
    top = _top("status")
    if output == "zip":
        content = await deferToThread(_zip, top, files)
    else:
        content = await deferToThread(_tar, top, files, "w:bz2" if output == "tar.bz2" else "w")
    return _sent(content, _TYPES[output])


def _top(kind: str) -> str:
    return f"{kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"


def _sent(content: bytes, kind: str) -> StreamingResponse:
    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), BLOCK_BYTES):
            yield content[start : start + BLOCK_BYTES]

    headers = (("Content-Type", kind),)
    return StreamingResponse(blocks(), headers=headers, length=len(content))


def _logs(toolstack: Toolstack) -> Files:
    yield "xapi-recent.log", _recent
    state = toolstack.settings.state
    found = [*sorted((state / "log").glob("*")), *sorted(state.glob("*.log"))]
    found += sorted(state.parent.glob("*.log"))
    yield from ((path.name, partial(_end_of, path)) for path in found)
    if toolstack.settings.backend == "xen":
        for pattern in _SYSTEM_LOG_NAMES:
            for path in sorted(SYSTEM_LOGS.glob(pattern)):
                yield f"system/{path.relative_to(SYSTEM_LOGS)}", partial(_end_of, path)


def _recent() -> bytes:
    return "\n".join([*RECENT.lines(), ""]).encode("utf-8", "replace")


def _end_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - LARGEST_LOG_BYTES))
            return file.read(LARGEST_LOG_BYTES)
    except OSError:
        return b""


def _config(toolstack: Toolstack) -> Files:
    row, settings = toolstack.db.row("host", toolstack.localhost), toolstack.settings
    about = {
        "uuid": row.uuid,
        "name": row.name_label,
        "address": settings.address,
        "backend": settings.backend,
        "profile": settings.profile,
        "software": dict(row.software_version),
        "processors": dict(row.cpu_info),
        "features": list(row.capabilities),
    }
    yield "host.json", partial(_json, about)


def _databases(toolstack: Toolstack) -> Files:
    state = export_database(toolstack.db, toolstack.model.schema_version)
    yield "state.xml", lambda: b"".join(state_db.render(without_secrets(state)))


def _network(toolstack: Toolstack) -> Files:
    db = toolstack.db
    pifs = [
        {
            "device": pif.device,
            "MAC": pif.MAC,
            "network": db.row("network", pif.network).bridge,
            "attached": pif.currently_attached,
            "management": pif.management,
            "mode": pif.ip_configuration_mode,
            "address": pif.IP,
            "netmask": pif.netmask,
            "gateway": pif.gateway,
            "DNS": pif.DNS,
            "VLAN": pif.VLAN,
        }
        for pif in db.rows("PIF")
    ]
    yield "interfaces.json", partial(_json, pifs)
    for name in ("dev", "route", "bonding/bond0"):
        if toolstack.settings.backend == "xen":
            yield f"proc-net/{name}", partial(_end_of, Path("/proc/net") / name)


def _crashdumps(toolstack: Toolstack) -> Files:
    rows = toolstack.db.rows("host_crashdump")
    found = [{"uuid": row.uuid, "size": row.size} for row in rows]
    yield "crashdumps.json", partial(_json, found)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


PARTS: dict[str, Callable[[Toolstack], Files]] = {
    "xenserver-config": _config,
    "xenserver-databases": _databases,
    "xenserver-logs": _logs,
    "host-crashdump-logs": _crashdumps,
    "network-status": _network,
}
"""What the keys of the capabilities stand for."""


def without_secrets(state: StateDb) -> StateDb:
    """Give a database without passwords and sessions."""
    left_out = {"session", "secret"}
    tables = {
        name: [] if name in left_out else [_without_secrets(row) for row in rows]
        for name, rows in state.tables.items()
    }
    return StateDb(state.schema, state.generation, tables, state.manifest)


def _without_secrets(row: StateRow) -> StateRow:
    fields = {
        name: "" if "password" in name.lower() else _SECRET.sub(r"\1...'", text)
        for name, text in row.fields.items()
    }
    return StateRow(row.ref, fields, row.created, row.modified)


def _tar(top: str, files: list[tuple[str, Make]], mode: str) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=mode) as archive:  # type: ignore[call-overload]
        for name, make in files:
            data = make()
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime = len(data), int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return whole.getvalue()


def _zip(top: str, files: list[tuple[str, Make]]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, make in files:
            archive.writestr(f"{top}/{name}", make())
    return whole.getvalue()
