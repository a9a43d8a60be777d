"""The project's own source files, parsed: what the tests about the source work on."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("ocaml_compat", "xapi_py", "xenops", "sm", "xcp_networkd", "xe")


@dataclass(frozen=True, eq=False)
class Module:
    """One source file; ``name`` is dotted, a package's is that of its folder."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def shown(self) -> str:
        return str(self.path.relative_to(ROOT))


@dataclass(frozen=True)
class Import:
    """One imported module or name; ``lazy`` inside a function, ``typing`` for types only."""

    target: str
    line: int
    lazy: bool
    typing: bool
    relative: bool


@cache
def modules() -> tuple[Module, ...]:
    """All modules of the product; generated ones are left out."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "_generated" in parts or "__pycache__" in parts:
                continue
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            found.append(Module(name, path, text, ast.parse(text, str(path))))
    return tuple(found)


@cache
def imports(module: Module) -> tuple[Import, ...]:
    """All imports of a module, names of ``from`` imports included as dotted targets."""
    return tuple(_imports(module.tree, lazy=False, typing=False))


def _imports(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                for alias in child.names:
                    yield Import(alias.name, child.lineno, lazy, typing, False)
            case ast.ImportFrom():
                for alias in child.names:
                    target = f"{child.module or ''}.{alias.name}"
                    yield Import(target, child.lineno, lazy, typing, child.level > 0)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _imports(child, True, typing)
            case ast.If() if "TYPE_CHECKING" in ast.unparse(child.test):
                yield from _imports(child, lazy, True)
            case _:
                yield from _imports(child, lazy, typing)
