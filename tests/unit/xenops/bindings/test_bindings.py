"""The bindings where there is no Xen: every C function has a user, and errors are clear."""

import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.source_tree import ROOT
from xenops.bindings import acpi, artifact, load
from xenops.bindings.errors import BindingError, XenError
from xenops.bindings.interface import HvmParam, Hypervisor

BINDINGS = ROOT / "xenops" / "bindings"


def declared_functions() -> set[str]:
    text = "\n".join(path.read_text() for path in (BINDINGS / "cdef").glob("*.h"))
    return set(re.findall(r"^[a-z][\w \*]*?\b\*?(\w+)\([^;]*\);", text, re.MULTILINE))


def test_every_declared_function_is_called() -> None:
    source = "\n".join(path.read_text() for path in BINDINGS.glob("*.py"))
    called = set(re.findall(r"lib\.(\w+)", source))
    called |= set(re.findall(r"_step\(\s*\"(\w+)\"", source))
    unused = declared_functions() - called
    assert not unused
    assert len(declared_functions()) > 50


def test_every_called_function_is_declared() -> None:
    source = "\n".join(path.read_text() for path in BINDINGS.glob("*.py"))
    called = set(re.findall(r"lib\.(xc_\w+)", source))
    called |= set(re.findall(r"_step\(\s*\"(\w+)\"", source))
    assert called <= declared_functions()


def test_the_hypervisor_has_all_methods_of_its_interface() -> None:
    source = (BINDINGS / "xen.py").read_text()
    wanted = {name for name in vars(Hypervisor) if not name.startswith("_")}
    assert wanted <= set(re.findall(r"(?:def |self\.)(\w+)(?:\(| = )", source))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The bindings, compiled against this machine's headers."""
    if not (artifact.HEADERS / "xenctrl.h").exists() or shutil.which("cc") is None:
        pytest.skip("no headers of Xen or no C compiler: apt-get install libxen-dev gcc")
    build = pytest.importorskip("xenops.bindings.build")
    folder = tmp_path_factory.mktemp("bindings")
    made = build.compile_into(folder)
    assert build.compile_into(folder) == made
    return load._module(made)


def test_numbers_are_those_of_the_headers(compiled: Any) -> None:
    lib = compiled.lib
    for param in HvmParam:
        assert getattr(lib, f"HVM_PARAM_{param.name}") == param.value
    version = (lib.XEN_LIBRARY_MAJOR, lib.XEN_LIBRARY_MINOR)
    assert version == artifact.header_version()


def test_without_xen_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "HYPERVISOR", tmp_path)
    with pytest.raises(BindingError, match="does not run on Xen"):
        load.running_version()


def test_headers_of_another_version_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "xen").mkdir()
    (tmp_path / "xen" / "domctl.h").write_text("#define XEN_DOMCTL_INTERFACE_VERSION 0x00000015\n")
    monkeypatch.setattr(artifact, "HEADERS", tmp_path)
    monkeypatch.setattr(artifact, "folders", lambda: [tmp_path])
    with pytest.raises(
        BindingError, match=r"Xen 4\.18 is running, but the headers are of Xen 4\.17"
    ):
        load.library((4, 18))


def test_missing_headers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(artifact, "HEADERS", tmp_path)
    monkeypatch.setattr(artifact, "folders", lambda: [tmp_path])
    with pytest.raises(BindingError, match="install libxen-dev"):
        load.library((4, 17))


def test_headers_of_an_unknown_version_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "xen").mkdir()
    (tmp_path / "xen" / "domctl.h").write_text("#define XEN_DOMCTL_INTERFACE_VERSION 0x99\n")
    monkeypatch.setattr(artifact, "HEADERS", tmp_path)
    with pytest.raises(BindingError, match="0x99"):
        artifact.header_version()


def test_an_error_of_the_library_names_function_and_reason() -> None:
    error = XenError("xc_domain_create", 12, "out of memory")
    assert str(error) == "xc_domain_create: Cannot allocate memory (out of memory)"


@given(st.integers(1, 128))
def test_tables_for_guests_without_firmware_are_whole(vcpus: int) -> None:
    root, tables = acpi.root_pointer(), acpi.tables(vcpus)
    assert sum(root) % 256 == 0 and sum(root[:20]) % 256 == 0
    (xsdt_at,) = struct.unpack_from("<Q", root, 24)
    assert xsdt_at == acpi.TABLES_ADDRESS
    entries = struct.unpack_from("<QQ", tables, 36)
    names = []
    for address in (xsdt_at, *entries):
        offset = address - acpi.TABLES_ADDRESS
        (length,) = struct.unpack_from("<I", tables, offset + 4)
        assert sum(tables[offset : offset + length]) % 256 == 0
        names.append(tables[offset : offset + 4])
    assert names == [b"XSDT", b"FACP", b"APIC"]
    madt = entries[1] - acpi.TABLES_ADDRESS
    (length,) = struct.unpack_from("<I", tables, madt + 4)
    assert (length - 44) // 8 == vcpus
