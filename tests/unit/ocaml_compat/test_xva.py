"""XVA archives: what is written comes back, and nothing else gets in."""

import contextlib
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocaml_compat import raw_chunks, tar_stream, xmlrpc_value, xva
from ocaml_compat.raw_chunks import RawChunks, RawChunksError
from ocaml_compat.tar_stream import TarError, TarReader
from ocaml_compat.xmlrpc_value import Date, XmlRpcValueError
from ocaml_compat.xva import (
    ChecksumError,
    Exported,
    Manifest,
    UnexpectedFile,
    Version,
    XvaError,
    XvaReader,
)

MIB = 1 << 20
VERSION = Version("host", "2026-01-01", "8.4.0", "XenServer", "0", (2, 23))
EMPTY = xva.render_manifest(Manifest(VERSION, ()))

texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=20
)
values = st.recursive(
    st.booleans()
    | texts
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.dates().map(lambda d: Date(f"{d:%Y%m%d}T00:00:00Z")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def archive(*members: bytes, end: bytes = tar_stream.END) -> bytes:
    return tar_stream.member(xva.MANIFEST, EMPTY) + b"".join(members) + end


def block(directory: str, number: int, data: bytes, kind: xva.ChecksumKind) -> bytes:
    return b"".join(xva.block(directory, number, data, kind))


def read(content: bytes, step: int = 0) -> tuple[XvaReader, list[tuple[str, int, bytes]]]:
    reader, found = XvaReader(), []
    for at in range(0, len(content), step or max(1, len(content))):
        for block in reader.feed(content[at : at + (step or len(content))]):
            block.verify()
            found.append((block.directory, block.offset, block.data))
    return reader, found


@given(values)
def test_values_come_back(value: object) -> None:
    assert xmlrpc_value.parse(xmlrpc_value.render(value).encode()) == value


def test_integers_are_bare_text_but_typed_ones_are_read() -> None:
    assert xmlrpc_value.render({"n": 5}) == (
        "<value><struct><member><name>n</name><value>5</value></member></struct></value>"
    )
    spaced = (
        b"<value> <array> <data> <value><i4>5</i4></value> <value>5</value></data></array> </value>"
    )
    assert xmlrpc_value.parse(spaced) == [5, "5"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<value>",
        b"<struct></struct>",
        b"<value><int>x</int></value>",
        b"<value><boolean>2</boolean></value>",
        b"<value><struct><member><value>1</value></member></struct></value>",
        b"<value><int>1</int><int>2</int></value>",
        b'<!DOCTYPE value [<!ENTITY a "aaaa">]><value>&a;</value>',
        b"<value>" + b"<array><data><value>" * 70,
        b"<value>\xff</value>",
    ],
)
def test_what_is_no_value_is_refused(document: bytes) -> None:
    with pytest.raises(XmlRpcValueError):
        xmlrpc_value.parse(document)


@given(st.binary(max_size=200))
def test_rubbish_is_no_value(document: bytes) -> None:
    with contextlib.suppress(XmlRpcValueError):
        xmlrpc_value.parse(b"<value>" + document + b"</value>")


@given(st.lists(st.tuples(texts, st.dictionaries(texts, values, max_size=3)), max_size=4))
def test_manifests_come_back(objects: list[tuple[str, dict[str, object]]]) -> None:
    exported = tuple(Exported("VM", ref, fields) for ref, fields in objects)  # type: ignore[arg-type]
    manifest = Manifest(VERSION, exported)
    assert xva.parse_manifest(xva.render_manifest(manifest)) == manifest


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z/]{1,90}", fullmatch=True), st.binary(max_size=1500)))
)
def test_other_programs_read_what_is_written(files: list[tuple[str, bytes]]) -> None:
    content = b"".join(tar_stream.member(name, data) for name, data in files) + tar_stream.END
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = [(m.name, tar.extractfile(m).read()) for m in tar.getmembers()]  # type: ignore[union-attr]
    assert [data for _, data in found] == [data for _, data in files]


@given(st.lists(st.binary(max_size=2000), max_size=4), st.sampled_from(["ustar", "gnu", "pax"]))
def test_what_other_programs_write_is_read(files: list[bytes], form: str) -> None:
    out = io.BytesIO()
    formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    with tarfile.open(fileobj=out, mode="w", format=formats[form]) as tar:
        for number, data in enumerate(files):
            info = tarfile.TarInfo(f"Ref:1/{number:08d}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    reader = TarReader(1 << 20)
    assert [member.data for member in reader.feed(out.getvalue())] == files
    assert reader.finished


@settings(max_examples=30)
@given(st.integers(1, 700), st.sampled_from(["xxhash", "checksum"]))
def test_blocks_come_back_however_the_stream_is_cut(step: int, kind: xva.ChecksumKind) -> None:
    blocks = [
        block("Ref:1", 0, b"a" * 1000, kind),
        block("Ref:1", 3, b"b" * 10, kind),
        block("Ref:2", 0, b"c", kind),
    ]
    reader, found = read(archive(*blocks), step)
    assert found == [("Ref:1", 0, b"a" * 1000), ("Ref:1", 3000, b"b" * 10), ("Ref:2", 0, b"c")]
    assert reader.finished and reader.size_of("Ref:1") == 3010 and reader.size_of("none") == 0


def test_empty_blocks_take_a_number_but_no_place() -> None:
    blocks = [
        block("Ref:1", 0, b"a" * 100, "xxhash"),
        block("Ref:1", 1, b"", "xxhash"),
        block("Ref:1", 2, b"b" * 100, "xxhash"),
        block("Ref:1", 4, b"c", "xxhash"),
    ]
    _, found = read(archive(*blocks))
    assert [(offset, len(data)) for _, offset, data in found] == [
        *((0, 100), (100, 0), (100, 100), (300, 1))
    ]


def test_blocks_without_checksums_are_read() -> None:
    member = tar_stream.member("Ref:1/00000000", b"old")
    tail = tar_stream.member("checksum.xml", b"<value/>")
    assert read(archive(member, tail))[1] == [("Ref:1", 0, b"old")]
    assert read(archive(member))[1] == [("Ref:1", 0, b"old")]


def test_a_wrong_checksum_is_found() -> None:
    content = archive(block("Ref:1", 0, b"payload", "checksum"))
    with pytest.raises(ChecksumError):
        read(content.replace(b"payload", b"poyload"))


@pytest.mark.parametrize(
    "members",
    [
        [tar_stream.member("Ref:1/xxxxxxxx", b"")],
        [tar_stream.member("noise", b"")],
        [tar_stream.member("Ref:1/00000000.xxhash", b"")],
        [tar_stream.member("Ref:1/00000001", b""), tar_stream.member("Ref:1/00000000.xxhash", b"")],
        [tar_stream.member("Ref:1/00000001", b""), tar_stream.member("Ref:1/00000001", b"")],
    ],
)
def test_files_out_of_order_are_refused(members: list[bytes]) -> None:
    with pytest.raises(UnexpectedFile):
        read(archive(*members))


def test_the_first_file_must_be_the_manifest() -> None:
    with pytest.raises(UnexpectedFile) as raised:
        read(tar_stream.member("other", b""))
    assert (raised.value.expected, raised.value.found) == ("ova.xml", "other")


def test_a_file_that_is_too_large_is_refused_by_its_header() -> None:
    with pytest.raises(XvaError):
        read(archive(tar_stream.header("Ref:1/00000000", xva.MAX_FILE_BYTES + 1)))


def test_what_nobody_reads_is_not_held() -> None:
    link = bytearray(tar_stream.header("x", 8**10))
    link[156:157] = b"x"
    link[148:156] = b" " * 8
    link[148:156] = f"{sum(link):06o}\0 ".encode()
    reader = TarReader(10)
    assert reader.feed(bytes(link) + bytes(MIB)) == []
    assert len(reader._buffer) == 0


@given(st.binary(max_size=3000), st.integers(0, 2500))
def test_damage_is_an_error_of_our_own(damage: bytes, at: int) -> None:
    content = bytearray(archive(block("Ref:1", 0, b"a" * 700, "xxhash")))
    content[at : at + len(damage)] = damage
    with contextlib.suppress(XvaError):
        read(bytes(content))


def test_headers_with_a_wrong_sum_are_no_tar() -> None:
    with pytest.raises(TarError):
        TarReader(10).feed(b"x" * 512)
    with pytest.raises(TarError):
        tar_stream.header("n" * 101, 1)


@given(
    st.lists(st.tuples(st.integers(0, 2**63), st.binary(min_size=1, max_size=50)), max_size=5),
    st.integers(1, 40),
)
def test_frames_come_back(frames: list[tuple[int, bytes]], step: int) -> None:
    content = b"".join(raw_chunks.frame(*f) for f in frames) + raw_chunks.frame(0, b"")
    reader, found = RawChunks(), []
    for at in range(0, len(content), step):
        found += reader.feed(content[at : at + step])
    assert found == frames and reader.finished


def test_a_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(RawChunksError):
        RawChunks().feed(bytes(8) + b"\xff\xff\xff\xff")
