"""Disks as raw images: GET /export_raw_vdi, PUT /import_raw_vdi.

Only the format ``raw`` is there yet; holes in it are not read and not written.
Sources: briefs STORAGE 5.2, CLIENTS 1.4.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

from ocaml_compat.raw_chunks import RawChunks, RawChunksError
from xapi_py.api.call import Call
from xapi_py.api.disk_files import (
    BLOCK_BYTES,
    ZEROS,
    DiskReader,
    DiskWriter,
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
from xapi_py.transfer.transfers import (
    OCTETS,
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

_FORMATS = ("raw", "vhd", "tar", "qcow2")
_VDI = RefOf("VDI")


def _check_format(request: Request) -> None:
    """Refuse all formats but raw.  Errors: HttpError 404 for unknown ones, NOT_IMPLEMENTED."""
    wanted = request.query.get("format") or "raw"
    if wanted not in _FORMATS:
        raise HttpError(404, f"unknown format {wanted}")
    if wanted != "raw":
        raise err.NOT_IMPLEMENTED(f"disk images of format {wanted}")


@entry_point("get_export_raw_vdi")
async def get_export_raw_vdi(
    toolstack: Toolstack, session: Session, request: Request
) -> StreamingResponse:
    """Send all a disk holds; its length is announced.

    Errors: UUID_INVALID, NOT_IMPLEMENTED, VDI_INCOMPATIBLE_TYPE, those of the
    disk's operation ``copy``.
    """
    wanted = request.query.get("vdi")
    if not wanted:
        raise err.INTERNAL_ERROR("Missing vdi query parameter")
    vdi = named(toolstack, "VDI", wanted)
    _check_format(request)
    if vdi.type == "cbt_metadata":
        raise err.VDI_INCOMPATIBLE_TYPE(vdi.ref, vdi.type)
    call = call_of(toolstack, session, request, "Exporting raw VDI")
    held = AsyncExitStack()
    try:
        await held.enter_async_context(storage_operation(call, ("VDI", Ref(vdi.ref), "copy")))
        reader = await open_reader(call, Ref(vdi.ref))
        held.callback(reader.close)
    except Exception as problem:
        await held.aclose()
        if isinstance(problem, ApiError):
            call.toolstack.tasks.fail(call.task, problem)
        raise
    download = Download(call, request, _content(call, reader), held.aclose)
    return StreamingResponse(
        download,
        headers=(
            ("task-id", call.task),
            ("Content-Type", OCTETS),
            ("Content-Disposition", f'attachment; filename="{vdi.uuid}.raw"'),
        ),
        length=reader.size,
        completes_task=True,
    )


async def _content(call: Call, reader: DiskReader) -> AsyncIterator[bytes]:
    sent, number = 0, 0
    while number < reader.count:
        blocks = await in_thread(reader.next_blocks, number)
        for found, data in blocks.found:
            async for zeros in _gap(sent, found * BLOCK_BYTES):
                yield zeros
            yield data
            sent = found * BLOCK_BYTES + len(data)
        number = blocks.following
        call.progress(min(1.0, number / reader.count))
    async for zeros in _gap(sent, reader.size):
        yield zeros


async def _gap(start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        length = min(BLOCK_BYTES, end - start)
        yield ZEROS[:length]
        start += length


@entry_point("put_import_raw_vdi")
async def put_import_raw_vdi(
    toolstack: Toolstack, session: Session, request: Request
) -> Response | None:
    """Write an image over a disk, or into a new one of its size on an SR.

    The task's result is the disk.  Errors: HttpError 404 for HTTP's own chunks
    and unknown formats, NOT_IMPLEMENTED, UUID_INVALID, VDI_READONLY,
    VDI_IO_ERROR for an image that is too large or breaks off.
    """
    refuse_chunked(request, err.IMPORT_ERROR_CANNOT_HANDLE_CHUNKED(), 404)
    wanted = request.query.get("vdi")
    vdi = named(toolstack, "VDI", wanted) if wanted else None
    _check_format(request)
    if is_probe(request):
        return Response(200, close=True)
    size = announced_bytes(request)
    if vdi is not None:
        _check_target(request, vdi, size)
    elif not size:
        raise err.INTERNAL_ERROR("one of vdi, and Content-Length for a new disk, is needed")
    first = await first_piece(request)
    if first is None:
        return None
    call = call_of(toolstack, session, request, "Importing raw VDI")
    read = reader_of(request, first)

    async def work() -> str:
        if vdi is not None:
            await _into(call, request, vdi, read)
            return result_text(vdi.ref, _VDI, call.model)
        assert size is not None
        return result_text(await _new_disk(call, request, size, read), _VDI, call.model)

    await upload(call, request, work)
    return None


def _check_target(request: Request, vdi: Row, size: int | None) -> None:
    if vdi.read_only:
        raise err.VDI_READONLY(vdi.ref)
    if vdi.type == "cbt_metadata":
        raise err.VDI_INCOMPATIBLE_TYPE(vdi.ref, vdi.type)
    framed = "chunked" in request.query
    if size is not None and size > vdi.virtual_size and not framed:
        raise err.VDI_IO_ERROR(vdi.ref, f"an image of {size} bytes does not fit")


Read = Callable[[], Awaitable[bytes]]


async def _into(call: Call, request: Request, vdi: Row, read: Read) -> None:
    async with storage_operation(call, ("VDI", Ref(vdi.ref), "copy")):
        writer = await open_writer(call, Ref(vdi.ref))
        try:
            await _copy(request, writer, read)
        finally:
            await writer.finish()


async def _new_disk(call: Call, request: Request, size: int, read: Read) -> Ref:
    query = request.query
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
        await _into(call, request, call.db.row("VDI", vdi), read)
        with call.db.transaction() as tx:
            disks.keep(tx, [vdi])
        return vdi


async def _copy(request: Request, writer: DiskWriter, read: Read) -> None:
    if "chunked" in request.query:
        await _copy_frames(writer, read)
    else:
        await _copy_plain(request, writer, read)


async def _copy_plain(request: Request, writer: DiskWriter, read: Read) -> None:
    """Write what comes from the start; its end is as announced, else that of the disk.

    A stream of no announced length may end early.
    """
    announced = announced_bytes(request)
    open_ended = "content-length" not in request.headers
    expected = writer.size if announced is None else announced
    offset, waiting = 0, bytearray()
    while offset + len(waiting) < expected:
        data = await read()
        if not data:
            break
        waiting += data
        while len(waiting) >= BLOCK_BYTES:
            piece = bytes(waiting[:BLOCK_BYTES])
            del waiting[:BLOCK_BYTES]
            await _write(writer, offset, piece, expected)
            offset += len(piece)
    await _write(writer, offset, bytes(waiting), expected)
    if offset + len(waiting) < expected and not open_ended:
        raise err.VDI_IO_ERROR(writer.vdi, "the image broke off")


async def _write(writer: DiskWriter, offset: int, data: bytes, expected: int) -> None:
    await writer.write(offset, data)
    if expected:
        writer.call.progress(min(1.0, (offset + len(data)) / expected))


async def _copy_frames(writer: DiskWriter, read: Read) -> None:
    frames = RawChunks()
    while not frames.finished:
        data = await read()
        if not data:
            raise err.VDI_IO_ERROR(writer.vdi, "the image broke off")
        try:
            found = frames.feed(data)
        except RawChunksError as problem:
            raise err.VDI_IO_ERROR(writer.vdi, str(problem)) from problem
        for offset, piece in found:
            await writer.write(offset, piece)
