"""The table of failing storage: each row names tests that exist."""

import re

from tests.unit.source_tree import ROOT

PAGE = ROOT / "doc" / "storage-failures.md"
NAMED = re.compile(r"`(\w+\.py)::(\w+)`")


def test_every_row_names_a_test_that_exists() -> None:
    rows = [r for r in PAGE.read_text(encoding="utf-8").splitlines() if r.startswith("| ")][2:]
    files: dict[str, str] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        files[path.name] = files.get(path.name, "") + path.read_text(encoding="utf-8")
    unproven = [row for row in rows if not NAMED.search(row)]
    unknown = [
        f"{file}::{name}"
        for row in rows
        for file, name in NAMED.findall(row)
        if f"def {name}(" not in files.get(file, "")
    ]
    assert rows and not unproven and not unknown
