"""The checked-in generated modules are what the YAML says."""

from pathlib import Path

from xapi_py.datamodel import compile as compiler
from xapi_py.datamodel.generated_modules import stale


def test_generated_modules_are_current() -> None:
    assert stale(compiler.generate(), compiler.OUTPUT) == []


def test_check_reports_a_difference(tmp_path: Path) -> None:
    for name, text in compiler.generate().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert stale(compiler.generate(), tmp_path) == []
    (tmp_path / "error_codes.py").write_text("# edited by hand\n", encoding="utf-8")
    (tmp_path / "surplus.py").write_text("", encoding="utf-8")
    (tmp_path / "plugin_table.py").unlink()
    wrong = ["error_codes.py", "plugin_table.py", "surplus.py"]
    assert stale(compiler.generate(), tmp_path) == wrong


def test_every_generated_module_says_that_it_is_generated() -> None:
    for text in compiler.generate().values():
        assert "GENERATED FILE: DO NOT EDIT." in text.splitlines()[1]
