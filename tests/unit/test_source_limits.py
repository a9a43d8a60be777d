"""Sizes and names of the source: the style guide's limits."""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.unit.source_tree import ROOT, modules

MODULE_WARN, MODULE_MAX = 600, 1000
FUNCTION_MAX, CLASS_MAX = 50, 300
ALLOWED_NAMES = {
    "xapi_py/datamodel/model.py::HttpHandler",
    "xapi_py/datamodel/http_handlers.py",
    "xapi_py/http/routes.py::ContentHandler",
}
"""Here "HTTP handler" is the interface's own word for a path it serves."""

ALLOWED_FILE = Path(__file__).parent / "source_limits.yaml"
BAD_MODULES = {"helpers", "utils", "misc", "common", "util", "helper"}
BAD_WORDS = ("manager", "handler", "processor")


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Count a definition's lines, its docstring apart."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        first = node.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def definitions(
    node: ast.AST, outer: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{outer}{child.name}"
            yield name, child
            yield from definitions(child, f"{name}.")
        else:
            yield from definitions(child, outer)


def test_modules_are_short():
    sizes = {module.shown: module.text.count("\n") for module in modules()}
    sizes |= {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in (ROOT / "tests").rglob("*.py")
        if "node_modules" not in path.parts
    }
    for name, size in sizes.items():
        if MODULE_WARN < size <= MODULE_MAX:
            warnings.warn(f"{name} has {size} lines, over {MODULE_WARN}", stacklevel=1)
    assert not {name: size for name, size in sizes.items() if size > MODULE_MAX}


def test_functions_and_classes_are_short_but_for_a_list_that_shrinks():
    allowed: dict[str, int] = yaml.safe_load(ALLOWED_FILE.read_text()) or {}
    found = {}
    for module in modules():
        for name, node in definitions(module.tree):
            limit = CLASS_MAX if isinstance(node, ast.ClassDef) else FUNCTION_MAX
            if length(node) > limit:
                found[f"{module.shown}::{name}"] = length(node)
    grown = {name: size for name, size in found.items() if size > allowed.get(name, 0)}
    assert not grown, f"too long: {grown}"
    shrunk = {name: found.get(name) for name in allowed if found.get(name, 0) < allowed[name]}
    assert not shrunk, f"shorter than {ALLOWED_FILE.name} says, change it there: {shrunk}"


def test_names_say_what_a_thing_is():
    wrong = []
    for module in modules():
        words = module.name.split(".")
        if words[-1] in BAD_MODULES or any(bad in words[-1].lower() for bad in BAD_WORDS):
            wrong.append(module.shown)
        for name, node in definitions(module.tree):
            if isinstance(node, ast.ClassDef) and any(bad in name.lower() for bad in BAD_WORDS):
                wrong.append(f"{module.shown}::{name}")
    assert not set(wrong) - ALLOWED_NAMES


def test_package_files_hold_a_docstring_and_all_only():
    wrong = []
    for module in modules():
        if module.is_package:
            rest = [
                node
                for node in module.tree.body
                if not isinstance(node, ast.Import | ast.ImportFrom)
                and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
                and "__all__" not in ast.unparse(node)
            ]
            if rest or ast.get_docstring(module.tree) is None:
                wrong.append(module.shown)
    assert not wrong


def test_every_module_says_what_it_is_for():
    assert not [m.shown for m in modules() if ast.get_docstring(m.tree) is None]
