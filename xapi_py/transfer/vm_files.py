"""VMs as files: GET /export, /export_metadata; PUT /import, /import_metadata."""

from contextlib import AsyncExitStack

from xapi_py.api.call import Call
from xapi_py.api.implicit import result_text
from xapi_py.api.operations import operation
from xapi_py.api.toolstack import Toolstack
from xapi_py.api.vm.export_archive import archive, collect, compression_of
from xapi_py.api.vm.import_archive import import_archive
from xapi_py.api.vm.import_target import import_sr
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import RefOf, SetOf
from xapi_py.db.row import Row
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import HttpError, Request, Response, StreamingResponse
from xapi_py.plan.exporting import ExportChoice
from xapi_py.plan.importing import ImportChoice
from xapi_py.session.sessions import Session
from xapi_py.transfer.transfers import (
    OCTETS,
    Download,
    call_of,
    first_piece,
    flag,
    is_probe,
    named,
    reader_of,
    refuse_chunked,
    upload,
)

_VMS = SetOf(RefOf("VM"))
_HEADERS = (
    ("Content-Type", OCTETS),
    ("Content-Disposition", 'attachment; filename="export.xva"'),
)


@entry_point("get_export")
async def get_export(toolstack: Toolstack, session: Session, request: Request) -> StreamingResponse:
    """Send a halted or suspended VM with its disks as an XVA file.

    Errors: those of the operation ``export``, UUID_INVALID.
    """
    vm = _vm(toolstack, request)
    call = call_of(toolstack, session, request, f"Export of VM: {vm.uuid}")
    suspended = flag(request, "preserve_power_state")
    choice = ExportChoice(suspended, flag(request, "include_snapshots"))
    return await _download(call, request, [vm], "export", choice)


async def _download(
    call: Call, request: Request, vms: list[Row], name: str, choice: ExportChoice
) -> StreamingResponse:
    """Hold the operation until the last byte is sent."""
    held = AsyncExitStack()
    try:
        await held.enter_async_context(operation(call, *(("VM", Ref(v.ref), name) for v in vms)))
        export, manifest = collect(call, vms, choice)
        packed = compression_of(request.query.get("use_compression", ""))
        body = archive(call, export, manifest, packed)
    except Exception as problem:
        await held.aclose()
        if isinstance(problem, ApiError):
            call.toolstack.tasks.fail(call.task, problem)
        raise
    download = Download(call, request, body, held.aclose)
    headers = (("task-id", call.task), *_HEADERS)
    return StreamingResponse(download, headers=headers, completes_task=True)


def _vm(toolstack: Toolstack, request: Request) -> Row:
    query = request.query
    if "ref" in query:
        return toolstack.db.row("VM", query["ref"])
    if "uuid" in query:
        return toolstack.db.row("VM", toolstack.db.by_uuid("VM", query["uuid"]))
    raise err.INTERNAL_ERROR("one of uuid and ref is needed")


@entry_point("get_export_metadata")
async def get_export_metadata(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Send the records of one VM, or of all, as an archive without disks."""
    vms = _chosen(toolstack, request)
    call = call_of(toolstack, session, request, "VM metadata export")
    excluded = frozenset(filter(None, request.query.get("excluded_device_types", "").split(",")))
    snapshots = request.query.get("export_snapshots", "true").lower() == "true"
    choice = ExportChoice(True, snapshots, excluded)
    claims = [("VM", Ref(vm.ref), "metadata_export") for vm in vms]
    async with operation(call, *claims):
        export, manifest = collect(call, vms, choice)
    parts: list[bytes] = []
    packed = compression_of(request.query.get("use_compression", ""))
    records = type(export)(export.objects, ())
    async for part in archive(call, records, manifest, packed):
        parts.append(part)
    toolstack.tasks.succeed(call.task, "")
    return Response(200, parts, (("task-id", call.task), *_HEADERS))


def _chosen(toolstack: Toolstack, request: Request) -> list[Row]:
    if not flag(request, "all"):
        return [_vm(toolstack, request)]
    return [
        vm
        for vm in toolstack.db.rows("VM")
        if not vm.is_a_snapshot
        and vm.other_config.get("default_template") != "true"
        and (not vm.is_control_domain or flag(request, "include_dom0"))
    ]


@entry_point("put_import")
async def put_import(toolstack: Toolstack, session: Session, request: Request) -> Response | None:
    """Take in an XVA file; the task's result is the set of its VMs.

    The client is told to send at once.  Errors: DEFAULT_SR_NOT_FOUND,
    NO_HOSTS_AVAILABLE for an unknown SR, HttpError 400 for an SR that takes no
    disks, 403 for chunks; then those of ``import_archive``.
    """
    refuse_chunked(request, err.IMPORT_ERROR_CANNOT_HANDLE_CHUNKED(), 403)
    sr = _sr(toolstack, request)
    choice = ImportChoice(True, sr, restore=flag(request, "restore"), force=flag(request, "force"))
    return await _import(toolstack, session, request, choice)


def _sr(toolstack: Toolstack, request: Request) -> Ref:
    query = request.query
    wanted = query.get("sr_id") or query.get("sr_uuid") or ""
    here = wanted in toolstack.db.tables["SR"].uuids or toolstack.db.find("SR", wanted)
    if query.get("sr_id") and not here:
        raise err.NO_HOSTS_AVAILABLE()
    sr = import_sr(toolstack, named(toolstack, "SR", wanted).ref if wanted else NULL_REF)
    if sr.content_type == "iso":
        raise HttpError(400, f"SR_OPERATION_NOT_SUPPORTED: [ {sr.ref} ]")
    return Ref(sr.ref)


@entry_point("put_import_metadata")
async def put_import_metadata(
    toolstack: Toolstack, session: Session, request: Request
) -> Response | None:
    """Make VMs whose disks are here already; ``dry_run=true`` only tries.

    ``vdi:UUID=UUID`` in the query tells which disk here stands for one of the file.
    """
    refuse_chunked(request, err.IMPORT_ERROR_CANNOT_HANDLE_CHUNKED(), 403)
    disks = {k[4:]: v for k, v in request.query.items() if k.startswith("vdi:")}
    choice = ImportChoice(
        full=False,
        restore=flag(request, "restore"),
        force=flag(request, "force"),
        dry_run=flag(request, "dry_run"),
        disks=disks,
    )
    return await _import(toolstack, session, request, choice)


async def _import(
    toolstack: Toolstack, session: Session, request: Request, choice: ImportChoice
) -> Response | None:
    if is_probe(request):
        return Response(200, close=True)
    first = await first_piece(request)
    if first is None:
        return None
    call = call_of(toolstack, session, request, "VM import")

    async def work() -> str:
        vms = await import_archive(call, choice, reader_of(request, first))
        return result_text(vms, _VMS, call.model)

    await upload(call, request, work)
    return None
