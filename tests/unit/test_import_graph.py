"""Imports point one way: ARCHITECTURE's direction, read from the source."""

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.unit.source_tree import PACKAGES, Module, imports, modules

BASE = {"ocaml_compat", "xapi_py.base"}
MODEL = BASE | {"xapi_py.datamodel"}
STORE = MODEL | {"xapi_py.db", "xapi_py.wire"}
PLAN = STORE | {"xapi_py.plan"}
SERVICES = {
    *("xapi_py.session", "xapi_py.task", "xapi_py.event"),
    *("xapi_py.pool", "xapi_py.metrics", "xapi_py.licensing", "xapi_py.ha"),
}
API = PLAN | SERVICES | {"xapi_py.api"}
EDGE = API | {"xapi_py.http"}
DATA_PATHS = {"xapi_py.transfer", "xapi_py.cli"}
DAEMON = {"ocaml_compat", "xapi_py.base"}

MAY_IMPORT: dict[str, set[str]] = {
    "ocaml_compat": set(),
    "xapi_py": set(),
    "xapi_py.base": {"ocaml_compat"},
    "xapi_py.datamodel": BASE,
    "xapi_py.db": MODEL,
    "xapi_py.wire": MODEL,
    "xapi_py.plan": STORE - {"xapi_py.wire"},
    **{name: PLAN | SERVICES for name in SERVICES},
    "xapi_py.api": PLAN | SERVICES,
    "xapi_py.http": API,
    **{name: EDGE | DATA_PATHS for name in DATA_PATHS},
    "xapi_py.start": EDGE | DATA_PATHS,
    "xapi_py.main": EDGE | DATA_PATHS | {"xapi_py.start"},
    "xapi_py.supervise": {"xapi_py", "xapi_py.base"},
    "xapi_py.supervisor": {"xapi_py.base", "xapi_py.supervise"},
    "xenops": DAEMON,
    "sm": DAEMON,
    "xcp_networkd": DAEMON,
    "xe": {"ocaml_compat"},
}
"""Which parts a part may import; parts within one set must not form a circle either."""

LAZY_ALLOWED = {"pam"}
"""Optional C libraries: only these may be imported inside a function."""

LAZY_IN_CLIENT = {"ssl", "socket", "getpass", "json", "xe"}
"""``xe`` runs once a command: it loads these only when the command needs them."""

MODULES = {module.name: module for module in modules()}


def part_of(name: str) -> str | None:
    """Give the part of the project a module belongs to, None for foreign ones."""
    words = name.split(".")
    if words[0] not in PACKAGES:
        return None
    return ".".join(words[:2]) if words[0] == "xapi_py" else words[0]


def internal_target(target: str) -> str | None:
    """Give the module of ours that an import loads, None for foreign ones."""
    while target not in MODULES:
        target, dot, _ = target.rpartition(".")
        if not dot:
            return None
    return target


def edges(module: Module, runtime_only: bool = False) -> set[str]:
    found = set()
    for item in imports(module):
        target = internal_target(item.target)
        if target and target != module.name and not (runtime_only and (item.typing or item.lazy)):
            found.add(target)
    return found


def assert_no_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("imports go round in a circle: " + " <- ".join(error.args[1]))


def test_every_part_imports_only_what_lies_below_it():
    wrong = []
    for module in modules():
        part = part_of(module.name)
        allowed = MAY_IMPORT.get(part or "")
        if allowed is None:
            wrong.append(f"{module.shown}: {part} has no place in MAY_IMPORT")
            continue
        for target in sorted(edges(module)):
            other = part_of(target)
            if other != part and other not in allowed:
                wrong.append(f"{module.shown} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_parts_do_not_import_each_other_in_circles_not_even_for_types():
    graph: dict[str, set[str]] = {}
    for module in modules():
        part = part_of(module.name) or ""
        others = {part_of(target) or "" for target in edges(module)}
        graph.setdefault(part, set()).update(others - {part})
    assert_no_circle(graph)


def test_modules_do_not_import_each_other_in_circles():
    assert_no_circle({module.name: edges(module, runtime_only=True) for module in modules()})


def test_no_import_is_relative():
    wrong = [
        f"{module.shown}:{item.line}"
        for module in modules()
        for item in imports(module)
        if item.relative
    ]
    assert not wrong


def lazy_allowed(module: Module) -> set[str]:
    return LAZY_ALLOWED | (LAZY_IN_CLIENT if part_of(module.name) == "xe" else set())


def test_functions_import_optional_c_libraries_only():
    wrong = [
        f"{module.shown}:{item.line} imports {item.target}"
        for module in modules()
        for item in imports(module)
        if item.lazy and item.target.split(".")[0] not in lazy_allowed(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_parts_have_no_effects():
    effects = {"twisted", "os", "subprocess", "socket", "threading", "time", "random"}
    wrong = [
        f"{module.shown}:{item.line} imports {item.target}"
        for module in modules()
        if part_of(module.name) in ("xapi_py.plan", "ocaml_compat")
        for item in imports(module)
        if item.target.split(".")[0] in effects
    ]
    assert not wrong, "\n".join(wrong)
