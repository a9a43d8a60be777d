"""XVA archives: virtual machines with their disks in a tar archive.

The first file is ``ova.xml``, an XML-RPC value that holds a version and the
database records, with references between them written ``Ref:0``, ``Ref:1``...
Then comes every disk as files ``Ref:7/00000000``, ``Ref:7/00000001``... of
1 MiB each, the last one as short as it is; each is followed by its checksum,
``.xxhash`` (XXH64, upper case) or ``.checksum`` (SHA-1, lower case).  Blocks of
zeros are left out, but not the first and the last one.

The numbers are not offsets: old writers send an empty block now and then to
keep the connection alive, and it takes a number.  A gap in the numbers stands
for that many blocks of zeros of the length of the first block.
Source: xapi-project/xen-api, ocaml/xapi (importexport, stream_vdi), and
xva-img, README.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import xxhash

from ocaml_compat import tar_stream, xmlrpc_value
from ocaml_compat.tar_stream import TarError, TarReader
from ocaml_compat.xmlrpc_value import Value, XmlRpcValueError

MANIFEST: Final = "ova.xml"
BLOCK_BYTES: Final = 1 << 20
EXPORT_VERSION: Final = 2
MAX_FILE_BYTES: Final = 64 << 20

ChecksumKind = Literal["xxhash", "checksum"]


class XvaError(ValueError):
    """The archive is not as the format asks for it."""


class ChecksumError(XvaError):
    """A block is not what its checksum says."""


class UnexpectedFile(XvaError):
    """``found`` is where ``expected`` should be."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"{found!r} instead of {expected!r}")
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True)
class Version:
    """Who wrote an archive; a reader must not be older than ``xapi``."""

    hostname: str
    date: str
    product_version: str
    product_brand: str
    build_number: str
    xapi: tuple[int, int]
    export: int = EXPORT_VERSION


@dataclass(frozen=True, slots=True)
class Exported:
    """A database record: class, reference within the archive, fields by wire name."""

    cls: str
    id: str
    snapshot: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``ova.xml`` says."""

    version: Version
    objects: Sequence[Exported]


def render_manifest(manifest: Manifest) -> bytes:
    """Write ``ova.xml``."""
    version = manifest.version
    head: dict[str, Value] = {
        "hostname": version.hostname,
        "date": version.date,
        "product_version": version.product_version,
        "product_brand": version.product_brand,
        "build_number": version.build_number,
        "xapi_major": version.xapi[0],
        "xapi_minor": version.xapi[1],
        "export_vsn": version.export,
    }
    objects: list[Value] = [
        {"class": item.cls, "id": item.id, "snapshot": item.snapshot} for item in manifest.objects
    ]
    return xmlrpc_value.render({"version": head, "objects": objects}).encode()


def parse_manifest(document: bytes) -> Manifest:
    """Read ``ova.xml``; members it does not know are ignored.

    Errors: XvaError.
    """
    try:
        value = xmlrpc_value.parse(document)
    except XmlRpcValueError as error:
        raise XvaError(f"{MANIFEST}: {error}") from error
    top = _struct(value, MANIFEST)
    head = _struct(top.get("version"), "version")
    objects = top.get("objects")
    if not isinstance(objects, list):
        raise XvaError(f"{MANIFEST}: objects are missing")
    version = Version(
        hostname=_text(head, "hostname"),
        date=_text(head, "date"),
        product_version=_text(head, "product_version"),
        product_brand=_text(head, "product_brand"),
        build_number=_text(head, "build_number"),
        xapi=(_number(head, "xapi_major"), _number(head, "xapi_minor")),
        export=_number(head, "export_vsn"),
    )
    return Manifest(version, tuple(_exported(item) for item in objects))


def _exported(value: Value) -> Exported:
    item = _struct(value, "object")
    cls, ref = item.get("class"), item.get("id")
    if not isinstance(cls, str) or not isinstance(ref, str):
        raise XvaError(f"{MANIFEST}: an object without class or id")
    return Exported(cls, ref, _struct(item.get("snapshot"), "snapshot"))


def _struct(value: Value, what: str) -> Mapping[str, Value]:
    if not isinstance(value, dict):
        raise XvaError(f"{MANIFEST}: {what} is no struct")
    return value


def _text(struct: Mapping[str, Value], name: str) -> str:
    value = struct.get(name, "")
    return value.text if isinstance(value, xmlrpc_value.Date) else str(value)


def _number(struct: Mapping[str, Value], name: str) -> int:
    try:
        return int(str(struct.get(name, 0)))
    except ValueError as error:
        raise XvaError(f"{MANIFEST}: {name} is no number") from error


def checksum(kind: ChecksumKind, data: bytes) -> str:
    """Give the text of a checksum file."""
    if kind == "xxhash":
        return xxhash.xxh64(data).hexdigest().upper()
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def block(directory: str, number: int, data: bytes, kind: ChecksumKind) -> tuple[bytes, ...]:
    """Give a block of a disk and its checksum as parts of the archive, in order."""
    name = f"{directory}/{number:08d}"
    digest = checksum(kind, data).encode()
    after = tar_stream.padding(len(data)) + tar_stream.member(f"{name}.{kind}", digest)
    return tar_stream.header(name, len(data)), data, after


@dataclass(frozen=True, slots=True)
class DiskBlock:
    """Data of a disk and where it goes.

    Errors of ``verify`` are the reason why nothing of it may be used before.
    """

    directory: str
    offset: int
    data: bytes
    kind: ChecksumKind | None = None
    digest: str = ""

    def verify(self) -> None:
        """Compare data and checksum; slow enough for a thread.  Errors: ChecksumError."""
        if self.kind is not None and checksum(self.kind, self.data) != self.digest:
            raise ChecksumError(f"{self.directory} at {self.offset}")


@dataclass(slots=True)
class _Disk:
    """How far a disk has come."""

    number: int = -1
    position: int = 0
    first_bytes: int = 0


class XvaReader:
    """Takes an archive apart while it arrives, without reading or writing anything.

    ``manifest`` is there once ``ova.xml`` has come.  A block is given when the
    file after it has come, which normally is its checksum.  With a ``manifest``
    the archive has none: it is that of a disk alone.
    """

    def __init__(self, manifest: Manifest | None = None) -> None:
        self._tar = TarReader(MAX_FILE_BYTES)
        self.manifest = manifest
        self._disks: dict[str, _Disk] = {}
        self._held: tuple[str, DiskBlock] | None = None

    @property
    def finished(self) -> bool:
        """Whether the end of the archive has come."""
        return self._tar.finished

    @property
    def at_boundary(self) -> bool:
        """Whether all that came is whole files: some writers leave the end away."""
        return self.manifest is not None and self._tar.between_members

    def size_of(self, directory: str) -> int:
        """Give how many bytes of a disk have come, zeros included; 0 for an unknown one."""
        disk = self._disks.get(directory)
        return 0 if disk is None else disk.position

    def feed(self, data: bytes) -> list[DiskBlock]:
        """Take the next bytes and give the blocks they complete, in order.

        Errors: XvaError and what is derived from it.
        """
        found: list[DiskBlock] = []
        try:
            members = self._tar.feed(data)
        except TarError as error:
            raise XvaError(str(error)) from error
        for item in members:
            if self.manifest is None:
                if item.name != MANIFEST:
                    raise UnexpectedFile(MANIFEST, item.name)
                self.manifest = parse_manifest(item.data)
            else:
                found.extend(self._take(item.name, item.data))
        if self.finished:
            found.extend(self.release())
        return found

    def release(self) -> list[DiskBlock]:
        """Give the block that waits for a checksum, at the end of the archive."""
        held, self._held = self._held, None
        return [] if held is None else [held[1]]

    def _take(self, name: str, data: bytes) -> list[DiskBlock]:
        base, _, suffix = name.rpartition(".")
        if suffix in ("xxhash", "checksum") and base:
            kind: ChecksumKind = "xxhash" if suffix == "xxhash" else "checksum"
            if self._held is None or self._held[0] != base:
                raise UnexpectedFile(self._held[0] if self._held else "a block", name)
            _, held = self._held
            self._held = None
            digest = data.decode("ascii", "replace").strip()
            return [DiskBlock(held.directory, held.offset, held.data, kind, digest)]
        released = self.release()
        if name == "checksum.xml":  # of files older than the checksums beside blocks
            return released
        self._held = (name, self._block(name, data))
        return released

    def _block(self, name: str, data: bytes) -> DiskBlock:
        directory, _, digits = name.rpartition("/")
        if not directory or not digits.isascii() or not digits.isdigit() or len(digits) > 12:
            raise UnexpectedFile("a block of a disk", name)
        number = int(digits)
        disk = self._disks.setdefault(directory, _Disk())
        if number <= disk.number:
            raise UnexpectedFile(f"{directory}/{disk.number + 1:08d}", name)
        if disk.number < 0 and not disk.first_bytes:
            disk.first_bytes = len(data)
        offset = disk.position + (number - disk.number - 1) * disk.first_bytes
        disk.number, disk.position = number, offset + len(data)
        return DiskBlock(directory, offset, data)
