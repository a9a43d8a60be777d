"""Disks as files: GET /export_raw_vdi, PUT /import_raw_vdi.

Sources: briefs STORAGE 5.2, CLIENTS 1.4.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Final

from ocaml_compat import vhd
from ocaml_compat.xva import ChecksumError
from xapi_py.api.call import Call
from xapi_py.api.disk_files import (
    BLOCK_BYTES,
    DiskWriter,
    ReadAhead,
    in_thread,
    open_reader,
    open_writer,
)
from xapi_py.api.implicit import result_text
from xapi_py.api.storage_calls import storage_operation
from xapi_py.api.toolstack import Toolstack
from xapi_py.api.vm import disks
from xapi_py.api.vm.import_target import import_sr
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import RefOf
from xapi_py.db.row import Row
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import HttpError, Request, Response, StreamingResponse
from xapi_py.session.sessions import Session
from xapi_py.transfer.disk_decoders import BAD_IMAGE, Decoder, Pieces, decoder
from xapi_py.transfer.disk_encoders import CONTENT_TYPES, Disk, Encoded, encoder
from xapi_py.transfer.transfers import (
    Download,
    announced_bytes,
    call_of,
    first_piece,
    is_probe,
    named,
    reader_of,
    refuse_chunked,
    upload,
)

Read = Callable[[], Awaitable[bytes]]

_VDI = RefOf("VDI")
_WITH_BASE: Final = frozenset({"vhd", "qcow2"})
_GATHER_BYTES: Final = BLOCK_BYTES


def _format_of(request: Request) -> str:
    """Give the format asked for.  Errors: HttpError 404 for unknown ones."""
    wanted = request.query.get("format") or "raw"
    if wanted not in CONTENT_TYPES:
        raise HttpError(404, f"unknown format {wanted}")
    return wanted


@entry_point("get_export_raw_vdi")
async def get_export_raw_vdi(
    toolstack: Toolstack, session: Session, request: Request
) -> StreamingResponse:
    """Send what a disk holds; the length is announced but for tar.

    ``base``: only what differs from that disk (vhd, qcow2).  Errors:
    UUID_INVALID, VDI_INCOMPATIBLE_TYPE, VDI_TOO_LARGE for a VHD, those of the
    disk's operation ``copy``.
    """
    wanted = request.query.get("vdi")
    if not wanted:
        raise err.INTERNAL_ERROR("Missing vdi query parameter")
    vdi, form = named(toolstack, "VDI", wanted), _format_of(request)
    base = named(toolstack, "VDI", request.query["base"]) if request.query.get("base") else None
    for disk in (vdi, base):
        if disk is not None and disk.type == "cbt_metadata":
            raise err.VDI_INCOMPATIBLE_TYPE(disk.ref, disk.type)
    if base is not None and form not in _WITH_BASE:
        raise err.INTERNAL_ERROR(f"a base is not possible with format {form}")
    if form == "vhd" and vdi.virtual_size > vhd.MAX_BYTES:
        raise err.VDI_TOO_LARGE(vdi.ref, str(vhd.MAX_BYTES))
    call = call_of(toolstack, session, request, "Exporting raw VDI")
    held = AsyncExitStack()
    try:
        encoded = await _encoded(call, held, vdi, base, form)
    except BaseException as problem:
        await held.aclose()
        if isinstance(problem, ApiError):
            call.toolstack.tasks.fail(call.task, problem)
        raise
    download = Download(call, request, _sent(call, encoded, held), held.aclose)
    return StreamingResponse(
        download,
        headers=(
            ("task-id", call.task),
            ("Content-Type", CONTENT_TYPES[form]),
            ("Content-Disposition", f'attachment; filename="{vdi.uuid}.{form}"'),
        ),
        length=encoded.length,
        completes_task=True,
    )


async def _encoded(
    call: Call, held: AsyncExitStack, vdi: Row, base: Row | None, form: str
) -> Encoded:
    """Open the disks until ``held`` is closed, and look where their data is."""
    await held.enter_async_context(storage_operation(call, ("VDI", Ref(vdi.ref), "copy")))
    reader = await open_reader(call, Ref(vdi.ref), base.uuid if base else "")
    held.push_async_callback(reader.release)
    disk = Disk(vdi.uuid, reader, call.now())
    if base is not None:
        below = await open_reader(call, Ref(base.ref), vdi.uuid)
        held.push_async_callback(below.release)
        disk = Disk(vdi.uuid, reader, call.now(), base.uuid, below)
    encode = encoder(form, "checksum" if call.model.profile == "7.1" else "xxhash")
    try:
        encoded: Encoded = await in_thread(encode, disk)
    except OSError as problem:
        raise err.VDI_IO_ERROR(vdi.ref, problem.strerror or "input/output error") from problem
    return encoded


async def _sent(call: Call, encoded: Encoded, held: AsyncExitStack) -> AsyncIterator[bytes]:
    """Give the pieces; the disks are free before the last one, so that clients find them so."""
    last = b""
    async with aclosing(ReadAhead(encoded.pieces)) as pieces:
        async for parts, done in pieces:
            for data in filter(None, parts):
                if last:
                    yield last
                last = data
            call.progress(min(1.0, done))
    await held.aclose()
    yield last


@entry_point("put_import_raw_vdi")
async def put_import_raw_vdi(
    toolstack: Toolstack, session: Session, request: Request
) -> Response | None:
    """Write an image over a disk, or into a new one of its size on an SR.

    The task's result is the disk.  Errors: HttpError 404 for HTTP's own chunks
    and unknown formats, UUID_INVALID, VDI_READONLY, VDI_IO_ERROR for an image
    that is too large, damaged or breaks off, IMPORT_ERROR_SOME_CHECKSUMS_FAILED.
    """
    refuse_chunked(request, err.IMPORT_ERROR_CANNOT_HANDLE_CHUNKED(), 404)
    wanted = request.query.get("vdi")
    vdi = named(toolstack, "VDI", wanted) if wanted else None
    form = _format_of(request)
    if is_probe(request):
        return Response(200, close=True)
    size = announced_bytes(request)
    if "chunked" in request.query and form != "raw":
        raise HttpError(404, f"chunked is not possible with format {form}")
    if vdi is not None:
        _check_target(request, vdi, size if form == "raw" else None)
    elif form == "raw" and not size:
        raise err.INTERNAL_ERROR("one of vdi, and Content-Length for a new disk, is needed")
    first = await first_piece(request)
    if first is None:
        return None
    call = call_of(toolstack, session, request, "Importing raw VDI")
    limit = vdi.virtual_size if vdi is not None else 0
    framed, expected = "chunked" in request.query, _expected(request, limit)
    stream = decoder(form, framed=framed, expected=expected, limit=limit)
    whole = size and "chunked" not in request.query
    at_least = BLOCK_BYTES if whole else 1  # other clients wait for us when they have sent all
    incoming = _Incoming(call, request, reader_of(request, first, at_least), stream)

    async def work() -> str:
        try:
            ref = await _received(incoming, vdi)
        finally:
            stream.close()
        return result_text(ref, _VDI, call.model)

    await upload(call, request, work)
    return None


def _expected(request: Request, limit: int) -> int | None:
    """Bytes of a raw image; None where the stream may end early."""
    if "content-length" not in request.headers:
        return None
    announced = announced_bytes(request)
    return limit if announced is None else announced


def _check_target(request: Request, vdi: Row, size: int | None) -> None:
    if vdi.read_only:
        raise err.VDI_READONLY(vdi.ref)
    if vdi.type == "cbt_metadata":
        raise err.VDI_INCOMPATIBLE_TYPE(vdi.ref, vdi.type)
    framed = "chunked" in request.query
    if size is not None and size > vdi.virtual_size and not framed:
        raise err.VDI_IO_ERROR(vdi.ref, f"an image of {size} bytes does not fit")


@dataclass(slots=True)
class _Incoming:
    """An image on its way in."""

    call: Call
    request: Request
    read: Read
    stream: Decoder
    received_bytes: int = 0

    async def next(self, vdi: str) -> Pieces | None:
        """Give the next pieces; None at the end."""
        data = await self.read()
        self.received_bytes += len(data)
        try:
            return self.stream.feed(data) if data else None
        except BAD_IMAGE as problem:
            raise _refusal(vdi, problem) from problem

    def last(self, vdi: str) -> Pieces:
        """Give the last pieces."""
        try:
            return self.stream.finish()
        except BAD_IMAGE as problem:
            raise _refusal(vdi, problem) from problem

    def progress(self, position: int, size: int) -> None:
        """Tell how far it is, by what was announced, else by the place on the disk."""
        announced = announced_bytes(self.request)
        part = self.received_bytes / announced if announced else position / max(1, size)
        self.call.progress(min(1.0, part))


def _refusal(vdi: str, problem: Exception) -> ApiError:
    if isinstance(problem, ChecksumError):
        return err.IMPORT_ERROR_SOME_CHECKSUMS_FAILED()
    return err.VDI_IO_ERROR(vdi, str(problem))


async def _received(incoming: _Incoming, vdi: Row | None) -> Ref:
    """Look at the start of the image, then write it.  Gives the disk."""
    stream, first, label = incoming.stream, Pieces(), vdi.ref if vdi else ""
    while not stream.ready:
        pieces = await incoming.next(label)
        if pieces is None:
            first += incoming.last(label)
            break
        first += pieces
    if vdi is None:
        return await _new_disk(incoming, first)
    await _into(incoming, vdi, first)
    return Ref(vdi.ref)


async def _into(incoming: _Incoming, vdi: Row, first: Pieces) -> None:
    size = incoming.stream.size
    if size is not None and size > vdi.virtual_size:
        raise err.VDI_IO_ERROR(vdi.ref, f"an image of {size} bytes does not fit")
    call, mode = incoming.call, "amend" if incoming.stream.partial else "replace"
    async with storage_operation(call, ("VDI", Ref(vdi.ref), "copy")):
        writer = await open_writer(call, Ref(vdi.ref), mode)
        try:
            await _copy(incoming, writer, first)
            await writer.finish()
        except BaseException:
            await writer.abandon()
            raise


async def _copy(incoming: _Incoming, writer: DiskWriter, pieces: Pieces) -> None:
    """Write all pieces, many small ones together."""
    waiting, gathered, stream = pieces, sum(len(data) for _, data in pieces), incoming.stream
    while not stream.finished:
        more = await incoming.next(writer.vdi)
        if more is None:
            break
        waiting += more
        gathered += sum(len(data) for _, data in more)
        if gathered >= _GATHER_BYTES:
            await writer.write_many(waiting)
            incoming.progress(sum((waiting[-1][0], len(waiting[-1][1]))), writer.size)
            waiting, gathered = [], 0
    waiting += incoming.last(writer.vdi)
    await writer.write_many(waiting)


async def _new_disk(incoming: _Incoming, first: Pieces) -> Ref:
    call, query = incoming.call, incoming.request.query
    size = incoming.stream.size
    if not size or incoming.stream.partial:
        raise err.INTERNAL_ERROR("the image does not say how large a new disk has to be")
    wanted = query.get("sr_id") or query.get("sr_uuid") or ""
    sr = named(call.toolstack, "SR", wanted) if wanted else import_sr(call.toolstack, NULL_REF)
    async with Undo() as undo:
        record: dict[str, object] = {
            "name_label": "Imported disk",
            "SR": sr.ref,
            "virtual_size": size,
            "type": "user",
        }
        vdi = await disks.create(call, undo, record)
        await _into(incoming, call.db.row("VDI", vdi), first)
        with call.db.transaction() as tx:
            disks.keep(tx, [vdi])
        return vdi
