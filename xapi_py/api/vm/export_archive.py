"""The bytes of an XVA file: records first, then the data of every disk."""

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Literal, Protocol

import zstandard

from ocaml_compat import tar_stream, xva
from ocaml_compat.xva import ChecksumKind, Manifest
from xapi_py.api.call import Call
from xapi_py.api.disk_files import DiskReader, ReadAhead, io_error, open_reader
from xapi_py.db.row import Row
from xapi_py.plan.exporting import Export, ExportChoice, plan_export, version_of

Compression = Literal["", "gzip", "zstd"]


class Compressor(Protocol):
    """What zlib and zstandard have in common."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(kind: Compression) -> Compressor:
    """Give a compressor; an empty ``kind`` changes nothing."""
    match kind:
        case "gzip":
            return zlib.compressobj(1, zlib.DEFLATED, 31)
        case "zstd":
            return zstandard.ZstdCompressor(level=1).compressobj()
        case _:
            return _Plain()


def compression_of(text: str) -> Compression:
    """Understand ``use_compression``; what it does not know means none."""
    kinds: dict[str, Compression] = {"true": "gzip", "gzip": "gzip", "zstd": "zstd"}
    return kinds.get(text.lower(), "")


def collect(call: Call, vms: list[Row], choice: ExportChoice) -> tuple[Export, bytes]:
    """Plan an export and give it with its ``ova.xml`` as a part of the archive."""
    export = plan_export(call.db, call.model, vms, choice)
    host = call.db.row("host", call.toolstack.localhost)
    document = xva.render_manifest(Manifest(version_of(host), export.objects))
    return export, tar_stream.member(xva.MANIFEST, document, call.now())


async def archive(
    call: Call, export: Export, manifest: bytes, compression: Compression = ""
) -> AsyncIterator[bytes]:
    """Give the archive piece by piece; progress is that of the disks' sizes.

    Errors: those of the storage, in the middle of the archive.
    """
    pack = compressor(compression)
    kind: ChecksumKind = "checksum" if call.model.profile == "7.1" else "xxhash"
    sizes = [call.db.row("VDI", disk.vdi).virtual_size for disk in export.disks]
    total, done = max(1, sum(sizes)), 0
    if head := pack.compress(manifest):
        yield head
    for disk, size in zip(export.disks, sizes, strict=True):
        reader = await open_reader(call, disk.vdi)
        try:
            pieces = _pieces(reader, disk.directory, kind, pack.compress)
            async with aclosing(ReadAhead(pieces)) as ahead:
                async for parts, position in ahead:
                    for piece in filter(None, parts):
                        yield piece
                    call.progress((done + min(position, size)) / total)
        except OSError as problem:
            raise io_error(call, disk.vdi, problem) from problem
        finally:
            await reader.release()
        done += size
    yield pack.compress(tar_stream.END) + pack.flush()


def _pieces(
    reader: DiskReader, directory: str, kind: ChecksumKind, pack: Callable[[bytes], bytes]
) -> Iterator[tuple[list[bytes], int]]:
    """Read, checksum and compress a disk; gives the place on it too.  Blocks."""
    number = 0
    while number < reader.count:
        blocks = reader.next_blocks(number)
        parts = [xva.block(directory, n, bytes(data), kind) for n, data in blocks.found]
        number = blocks.following
        packed = [pack(part) for part in chain.from_iterable(parts)]
        yield packed, number * xva.BLOCK_BYTES
