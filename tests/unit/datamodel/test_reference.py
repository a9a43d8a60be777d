"""The API reference is current and says what exists where."""

from pathlib import Path

from xapi_py.datamodel import reference
from xapi_py.datamodel.profiles import load_model

PAGES = Path(__file__).parents[3] / "doc" / "reference"


def test_pages_are_current() -> None:
    assert reference.stale(PAGES) == []


def test_every_class_has_a_page_and_a_sentence() -> None:
    for cls in load_model("all").classes.values():
        assert cls.doc.endswith("."), cls.name
        assert cls.doc in reference.class_page(cls.name)


def test_page_tells_profiles_roles_and_access() -> None:
    page = reference.class_page("VM")
    assert "| `name_label` | string | read and write, vm-admin | both |" in page
    assert "| `NVRAM` | map(string→string) | constructor | newest |" in page
    assert "`start(vm: ref VM, start_paused: bool, force: bool)` → void | vm-operator" in page
    assert "hard_reboot_internal" not in page


def test_page_tells_what_is_different_in_7_1() -> None:
    assert "In 7.1: enum vm_power_state, read." in reference.class_page("VM")
    assert "Role in 7.1: pool-admin." in reference.class_page("VM")


def test_main_classes_are_documented_in_full() -> None:
    everything = load_model("all")
    for name in ("VM", "VBD", "VIF", "VDI", "SR", "PBD", "network", "PIF", "task", "session"):
        cls = everything.classes[name]
        assert [f.name for f in cls.wire_fields if not f.doc] == []
        explicit = [m for m in cls.messages.values() if m.implicit is None]
        assert [m.name for m in explicit if not m.doc] == []


def test_check_reports_a_changed_page(tmp_path: Path) -> None:
    assert reference.main([str(tmp_path)]) == 0
    assert reference.main([str(tmp_path), "--check"]) == 0
    (tmp_path / "VM.md").write_text("changed\n", encoding="utf-8")
    assert reference.stale(tmp_path) == ["VM.md"]
    assert reference.main([str(tmp_path), "--check"]) == 1
