"""Writes the API reference as Markdown, one page for each class.

``python -m xapi_py.datamodel.reference doc/reference`` writes the pages; with
``--check`` it writes nothing and fails when a page is not what it would write.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from xapi_py.datamodel.model import REQUIRED, ClassDef, FieldDef, MessageDef, Model
from xapi_py.datamodel.profiles import load_model
from xapi_py.datamodel.unimplemented import ERROR_OF

_MODES = {"RW": "read and write", "static": "constructor", "dynamic": "read"}
_NOTE = "<!-- Generated from the data model: do not edit. -->"


class _Profiles:
    """Both profiles and the superset, to say what exists where."""

    def __init__(self) -> None:
        self.old: Model = load_model("7.1")
        self.new: Model = load_model("newest")
        self.everything: Model = load_model("all")

    def of_class(self, name: str) -> str:
        return _where(name in self.old.classes, name in self.new.classes)

    def of_field(self, field: FieldDef) -> str:
        return _where(_shows(self.old, field), _shows(self.new, field))

    def older_field(self, field: FieldDef) -> FieldDef | None:
        """Give the field as 7.1 has it, if it has it on the wire."""
        return self.old.classes[field.cls].fields[field.name] if _shows(self.old, field) else None

    def of_message(self, message: MessageDef) -> str:
        name = message.wire_name
        return _where(name in self.old.messages, name in self.new.messages)


def _shows(model: Model, field: FieldDef) -> bool:
    cls = model.classes.get(field.cls)
    return cls is not None and any(f.name == field.name for f in cls.wire_fields)


def _where(old: bool, new: bool) -> str:
    return "both" if old and new else "7.1" if old else "newest"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("->", "→")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return [*lines, *(f"| {' | '.join(map(_cell, row))} |" for row in rows), ""]


def _access(field: FieldDef) -> str:
    writer = f", {field.write_role}" if field.qualifier == "RW" else ""
    return _MODES[field.qualifier] + writer


def _field_row(profiles: _Profiles, field: FieldDef) -> tuple[str, ...]:
    notes = [field.doc]
    if field.required:
        notes.append("Required.")
    if not field.persist:
        notes.append("Lost at restart.")
    if field.deprecated:
        notes.append(f"Deprecated since {field.deprecated}.")
    older = profiles.older_field(field)
    if older and (older.type, _access(older)) != (field.type, _access(field)):
        notes.append(f"In 7.1: {older.type}, {_access(older)}.")
    return (
        f"`{field.name}`",
        f"{field.type}",
        _access(field),
        profiles.of_field(field),
        " ".join(n for n in notes if n),
    )


def _signature(message: MessageDef) -> str:
    params = [
        f"{p.name}: {p.type}" if p.default is REQUIRED else f"{p.name}: {p.type} = {p.default!r}"
        for p in message.params
    ]
    return f"`{message.name}({', '.join(params)})` → {message.result}"


def _message_row(profiles: _Profiles, message: MessageDef) -> tuple[str, ...]:
    notes = [message.doc]
    if not message.is_async:
        notes.append("No Async form.")
    if not message.needs_session:
        notes.append("No session argument.")
    if message.pool_internal:
        notes.append("Between hosts only.")
    if message.removed:
        notes.append("Removed: answers MESSAGE_REMOVED.")
    elif message.deprecated:
        notes.append(f"Deprecated since {message.deprecated}.")
    if message.wire_name in ERROR_OF:
        notes.append(f"Not implemented: {ERROR_OF[message.wire_name]}.")
    older = profiles.old.messages.get(message.wire_name)
    if older and _signature(older) != _signature(message):
        notes.append(f"In 7.1: {_signature(older)}.")
    if older and older.role != message.role:
        notes.append(f"Role in 7.1: {older.role}.")
    if message.errors:
        notes.append(f"Errors: {', '.join(message.errors)}.")
    return (
        _signature(message),
        message.role,
        profiles.of_message(message),
        " ".join(n for n in notes if n),
    )


def _implicit_line(cls: ClassDef) -> str:
    """List the implicit messages on whole rows; those on fields go by rule."""
    names = [m.name for m in cls.messages.values() if m.implicit and m.field is None]
    return f"By rule: {', '.join(f'`{n}`' for n in names)}; getters and setters of the fields."


def class_page(name: str, profiles: _Profiles | None = None) -> str:
    """Write the page of one class."""
    profiles = profiles or _Profiles()
    cls = profiles.everything.classes[name]
    lines = [_NOTE, "", f"# {name}", "", cls.doc, "", f"Profiles: {profiles.of_class(name)}.", ""]
    if cls.in_db:
        lines += [_implicit_line(cls), ""]
    if cls.wire_fields:
        rows = [_field_row(profiles, f) for f in cls.wire_fields]
        lines += ["## Fields", "", *_table(("Field", "Type", "Access", "Profile", "Notes"), rows)]
    explicit = [m for m in cls.messages.values() if m.implicit is None and not m.hidden]
    if explicit:
        shown = [_message_row(profiles, m) for m in explicit]
        lines += ["## Messages", "", *_table(("Message", "Role", "Profile", "Notes"), shown)]
    return "\n".join(lines).rstrip() + "\n"


def _index(profiles: _Profiles) -> str:
    everything = profiles.everything
    rows = [
        (f"[{c.name}]({c.name}.md)", profiles.of_class(c.name), c.doc)
        for c in everything.classes.values()
    ]
    text = (
        "Two profiles are offered: `7.1` (API 2.6) and `newest` (API 2.23). The session goes\n"
        "before the parameters shown, except where a message says otherwise. A role has the\n"
        "permissions of all lower ones; `local-root` is nobody but the local superuser.\n"
        "`X.get_F` reads a field, `X.set_F`, `X.add_F`, `X.remove_F`, `X.add_to_F` and\n"
        "`X.remove_from_F` change one that can be written."
    )
    lines = [_NOTE, "", "# API reference", "", text, ""]
    lines += _table(("Class", "Profile", "What it is"), rows)
    lines += ["See also [enumerations](enums.md) and [errors](errors.md)."]
    return "\n".join(lines) + "\n"


def _enums(profiles: _Profiles) -> str:
    rows = [
        (f"`{name}`", _where(name in profiles.old.enums, name in profiles.new.enums), _join(values))
        for name, values in profiles.everything.enums.items()
    ]
    lines = [_NOTE, "", "# Enumerations", "", *_table(("Name", "Profile", "Values"), rows)]
    return "\n".join(lines).rstrip() + "\n"


def _errors(profiles: _Profiles) -> str:
    rows = []
    for code, params in profiles.everything.errors.items():
        where = _where(code in profiles.old.errors, code in profiles.new.errors)
        rows.append((f"`{code}`", where, "undeclared" if params is None else _join(params)))
    lines = [_NOTE, "", "# Errors", "", *_table(("Code", "Profile", "Parameters"), rows)]
    return "\n".join(lines).rstrip() + "\n"


def _join(words: tuple[str, ...]) -> str:
    return ", ".join(words)


def pages() -> dict[str, str]:
    """Give the text of every page by file name."""
    profiles = _Profiles()
    found = {
        "README.md": _index(profiles),
        "enums.md": _enums(profiles),
        "errors.md": _errors(profiles),
    }
    for name in profiles.everything.classes:
        found[f"{name}.md"] = class_page(name, profiles)
    return found


def stale(directory: Path) -> list[str]:
    """List the pages that are missing, surplus or out of date."""
    wanted = pages()
    present = {p.name: p.read_text(encoding="utf-8") for p in directory.glob("*.md")}
    return sorted(n for n in wanted.keys() | present.keys() if wanted.get(n) != present.get(n))


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or check them; answer the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xapi_py.datamodel.reference")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    options = parser.parse_args(arguments)
    if options.check:
        names = stale(options.directory)
        for name in names:
            print(f"out of date: {options.directory / name}", file=sys.stderr)
        return 1 if names else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (options.directory / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
