"""The smaller tables of the data model, read from YAML as plain values."""

import re
from typing import Any

from xapi_py.datamodel.source import Entry, View, read_yaml

_UNITS = {"MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"(\d+) (MiB|GiB)")


def assignment(name: str, value: Any) -> list[str]:
    """Write ``name = value`` with one line per member of a collection."""
    match value:
        case dict() if value:
            return [f"{name} = {{", *(f"    {k!r}: {v!r}," for k, v in value.items()), "}"]
        case tuple() | list() if value:
            return [f"{name} = (", *(f"    {v!r}," for v in value), ")"]
    return [f"{name} = {value!r}"]


def size_bytes(text: str) -> int:
    """Turn "8 GiB" into bytes."""
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    return int(match[1]) * _UNITS[match[2]]


def _seen(view: View, entry: Any) -> bool:
    return not isinstance(entry, dict) or view.sees(entry)


def _errors(view: View) -> dict[str, tuple[str, ...] | None]:
    found: dict[str, tuple[str, ...] | None] = {}
    for code, entry in read_yaml("errors.yaml")["errors"].items():
        if not _seen(view, entry):
            continue
        params = entry
        if isinstance(entry, dict):
            params = entry["params"]
            if view.profile == "7.1" and "v7_1" in entry:
                params = entry["v7_1"]
        found[code] = None if params is None else tuple(params)
    return found


def _alerts(view: View) -> dict[str, int]:
    found = {}
    for name, entry in read_yaml("alerts.yaml").items():
        if not _seen(view, entry):
            continue
        priority = entry
        if isinstance(entry, dict):
            older = view.profile == "7.1" and "v7_1" in entry
            priority = entry["v7_1" if older else "priority"]
        found[name] = int(priority)
    return found


def _handlers(view: View) -> dict[str, tuple[Any, ...]]:
    found = {}
    for name, entry in read_yaml("http_handlers.yaml").items():
        if not view.sees(entry):
            continue
        e = view.of(entry)
        role, client_cert = view.role(e.get("role", "read-only"))
        sub = {k: view.role(v)[0] for k, v in e.get("sub", {}).items()}
        found[name] = (
            *(name, e["method"], e["path"], role, client_cert),
            *(e.get("rbac", True), e.get("sdk", False), e.get("args", {}), sub),
        )
    return found


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def profile_tables(view: View) -> dict[str, Any]:
    """Give the tables that differ from profile to profile."""
    roles = read_yaml("roles.yaml")
    versions = read_yaml("releases.yaml")["v7_1" if view.profile == "7.1" else "newest"]
    return {
        "API_VERSION": _version(versions["api"]),
        "SCHEMA_VERSION": _version(versions["schema"]),
        "ERRORS": _errors(view),
        "RELATIONS": tuple(
            tuple(r[:5])
            for r in read_yaml("relations.yaml")
            if view.sees(r[5] if len(r) > 5 else {})
        ),
        "ROLES": tuple(
            (r["name"], r["uuid"], r["internal"]) for r in roles["roles"] if view.sees(r)
        ),
        "EXTRA_PERMISSIONS": roles["extra_permissions"],
        "HTTP_HANDLERS": _handlers(view),
        "ALERTS": _alerts(view),
    }


def _frozen(value: Any) -> Any:
    """Turn lists into tuples: the data values of sets."""
    match value:
        case dict():
            return {k: _frozen(v) for k, v in value.items()}
        case list():
            return tuple(_frozen(v) for v in value)
    return value


def _template(name: str, entry: Entry) -> Entry:
    restrictions = {
        k: size_bytes(v) if k == "memory-static-max" else v
        for k, v in entry["restrictions"].items()
    }
    return {
        "name_label": name,
        **{k: v for k, v in entry.items() if k not in ("disks", "restrictions")},
        "memory_static_min": size_bytes(entry["memory_static_min"]),
        "memory": size_bytes(entry["memory"]),
        "disks": tuple(
            (size_bytes(d), not d.endswith("not-bootable")) for d in entry.get("disks", ())
        ),
        "restrictions": restrictions,
    }


def shared_tables() -> dict[str, tuple[str, dict[str, Any]]]:
    """Give the contents of the modules all profiles share, with docstrings."""
    templates = read_yaml("templates.yaml")
    releases = read_yaml("releases.yaml")
    unimplemented = read_yaml("unimplemented.yaml") or {}
    return {
        "template_table": (
            "Built-in templates; sizes in bytes, disks as (size, bootable).",
            {
                f"TEMPLATES_{era.upper()}": tuple(_template(n, t) for n, t in group.items())
                for era, group in templates.items()
            },
        ),
        "release_table": (
            "Releases in order.",
            {
                "RELEASES": tuple(releases["releases"]),
                "XENCENTER_PLATFORM_THRESHOLDS": releases["xencenter_platform_thresholds"],
            },
        ),
        "license_table": ("Licence feature keys.", {"LICENSE": read_yaml("license.yaml")}),
        "plugin_table": ("Storage drivers.", {"PLUGINS": read_yaml("sm_plugins.yaml")}),
        "default_table": (
            "A fresh installation.",
            {"DEFAULTS": _frozen(read_yaml("defaults.yaml"))},
        ),
        "unimplemented_table": (
            "Messages that are not implemented, with the error they give.",
            {"UNIMPLEMENTED": unimplemented},
        ),
    }
