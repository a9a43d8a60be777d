"""Taking in an XVA file: disks while they arrive, everything else at the end.

Disks are pending (see ``disks``) until one transaction makes the VMs with all
they need, so that an import that fails or dies leaves nothing.
"""

import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import zstandard

from ocaml_compat.xva import ChecksumError, Manifest, UnexpectedFile, XvaError, XvaReader
from xapi_py.api.call import Call
from xapi_py.api.disk_files import DiskWriter, in_thread, open_writer
from xapi_py.api.vm import disks, imported_records
from xapi_py.base.names import Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.plan.importing import ImportChoice, ImportPlan, check_version, plan_import

Read = Callable[[], Awaitable[bytes]]
"""Gives the next bytes of the file, none at the end or when the sender left."""

MAX_UNPACKED_BYTES: Final = 4 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_STEP_BYTES: Final = 512
"""A zstd block of 4 bytes may stand for 128 KiB."""


class Unpacker(Protocol):
    """Gives back what was compressed, some MiB at a time however small it was."""

    def unpack(self, data: bytes) -> Iterator[bytes]: ...


class _Stored:
    def unpack(self, data: bytes) -> Iterator[bytes]:
        yield data


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield self._stream.decompress(data, MAX_UNPACKED_BYTES)
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data, self._stream = self._stream.unused_data, zlib.decompressobj(31)
                if not data.startswith(_GZIP):
                    return


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj()

    def unpack(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_STEP_BYTES):
            yield self._stream.decompress(data[at : at + _ZSTD_STEP_BYTES])


def unpacker(start: bytes) -> Unpacker:
    """Choose by the first bytes of the file."""
    if start.startswith(_ZSTD):
        return _Zstd()
    return _Gzip() if start.startswith(_GZIP) else _Stored()


@dataclass(slots=True)
class Incoming:
    """A file on its way in."""

    call: Call
    choice: ImportChoice
    read: Read
    reader: XvaReader = field(default_factory=XvaReader)
    plan: ImportPlan | None = None
    writers: dict[str, DiskWriter] = field(default_factory=dict)
    made: dict[str, Ref] = field(default_factory=dict)
    expected_bytes: int = 1
    arrived_bytes: int = 0


async def import_archive(call: Call, choice: ImportChoice, read: Read) -> tuple[Ref, ...]:
    """Take in a file and give its VMs.

    Errors: those of ``plan.importing`` and of the storage,
    IMPORT_ERROR_PREMATURE_EOF, IMPORT_ERROR_SOME_CHECKSUMS_FAILED,
    IMPORT_ERROR_UNEXPECTED_FILE, IMPORT_ERROR, IMPORT_INCOMPATIBLE_VERSION.
    """
    incoming = Incoming(call, choice, read)
    async with Undo() as undo:
        try:
            await _take_all(incoming, undo)
        except UnexpectedFile as problem:
            raise err.IMPORT_ERROR_UNEXPECTED_FILE(problem.expected, problem.found) from problem
        except ChecksumError as problem:
            raise err.IMPORT_ERROR_SOME_CHECKSUMS_FAILED() from problem
        except (XvaError, zlib.error, zstandard.ZstdError) as problem:
            raise err.IMPORT_ERROR(str(problem)) from problem
        for writer in incoming.writers.values():
            await writer.finish()
        assert incoming.plan is not None
        return imported_records.write(call, choice, incoming.plan, incoming.made)


async def _take_all(incoming: Incoming, undo: Undo) -> None:
    reader, data = incoming.reader, b""
    while len(data) < len(_ZSTD):
        more = await incoming.read()
        if not more:
            break
        data += more
    stream = unpacker(data)
    while data and not reader.finished:
        parts = stream.unpack(data)
        while (part := await in_thread(next, parts, None)) is not None:
            await _take(incoming, part, undo)
        if not reader.finished:
            data = await incoming.read()
    if incoming.plan is None:
        raise err.IMPORT_ERROR_PREMATURE_EOF()
    if not reader.finished and (incoming.choice.full or not reader.at_boundary):
        raise err.IMPORT_ERROR_PREMATURE_EOF()
    _check_complete(incoming)


async def _take(incoming: Incoming, data: bytes, undo: Undo) -> None:
    blocks = incoming.reader.feed(data)
    manifest = incoming.reader.manifest
    if incoming.plan is None and manifest is not None:
        await _prepare(incoming, manifest, undo)
    for block in blocks:
        writer = incoming.writers.get(block.directory)
        if writer is None:
            known = ", ".join(sorted(incoming.writers)) or "the end of the file"
            raise UnexpectedFile(known, block.directory)
        if block.kind is not None:
            await in_thread(block.verify)
        await writer.write(block.offset, block.data)
        incoming.arrived_bytes += len(block.data)
        done = sum(incoming.reader.size_of(name) for name in incoming.writers)
        incoming.call.progress(0.95 * min(1.0, done / incoming.expected_bytes))


async def _prepare(incoming: Incoming, manifest: Manifest, undo: Undo) -> None:
    call, choice = incoming.call, incoming.choice
    check_version(call.db.row("host", call.toolstack.localhost), manifest)
    plan = incoming.plan = plan_import(call.db, call.model, manifest.objects, choice)
    if choice.dry_run:
        return
    for piece in plan.disks:
        vdi = incoming.made[piece.id] = await disks.create(call, undo, piece.fields)
        writer = incoming.writers[piece.id] = await open_writer(call, vdi)
        undo.push("close a disk", writer.abandon)
        incoming.expected_bytes += writer.size


def _check_complete(incoming: Incoming) -> None:
    """Refuse a file that has an end, but not of every disk.

    Errors: IMPORT_ERROR_PREMATURE_EOF.
    """
    assert incoming.plan is not None
    for piece in incoming.plan.disks:
        if incoming.choice.dry_run:
            continue
        wanted = int(piece.fields.get("virtual_size", 0))
        if wanted > 0 and incoming.reader.size_of(piece.id) < wanted:
            raise err.IMPORT_ERROR_PREMATURE_EOF()
