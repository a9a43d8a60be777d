"""Gives the data model as one profile sees it.

"7.1" is what XenServer 7.1 offers (API 2.6), "newest" is API 2.23, and "all"
is the superset of both that the database schema is made from.
"""

from functools import cache
from importlib import import_module
from typing import Any, Literal

from xapi_py.datamodel.implicit import ImplicitRules
from xapi_py.datamodel.model import (
    Alert,
    ClassDef,
    FieldDef,
    HttpHandler,
    MessageDef,
    Model,
    ParamDef,
    Relation,
    Role,
)
from xapi_py.datamodel.permissions import permission_table
from xapi_py.datamodel.value_types import RefOf, SetOf, parse_type

Profile = Literal["7.1", "newest", "all"]
_Ends = dict[tuple[str, str], Relation]
_SWAPPED = {"one-to-many": "many-to-one", "many-to-one": "one-to-many"}
_DANGLING_OK = 9  # position in a generated field row
_MARKED_APART = "client-cert"


@cache
def load_model(profile: Profile) -> Model:
    """Give the model of a profile; the same object each time.

    Raises ``ValueError`` for an unknown profile.
    """
    if profile not in ("7.1", "newest", "all"):
        raise ValueError(f"unknown profile {profile!r}")
    name = profile.replace(".", "_")
    return _build(import_module(f"xapi_py.datamodel._generated.profile_{name}"))


def _build(data: Any) -> Model:
    ends, relations = _relations(data)
    classes = {}
    where = data.PROFILE != "7.1"
    for row in data.CLASSES:
        cls = _class(row, ends, where=where)
        classes[cls.name] = cls
    messages = {m.wire_name: m for c in classes.values() for m in c.messages.values()}
    handlers = {row[0]: HttpHandler(*row) for row in data.HTTP_HANDLERS.values()}
    roles = _roles(data.ROLES)
    permissions, permission_names = permission_table(
        messages.values(), handlers.values(), data.EXTRA_PERMISSIONS, roles
    )
    return Model(
        profile=data.PROFILE,
        api_version=data.API_VERSION,
        schema_version=data.SCHEMA_VERSION,
        classes=classes,
        messages=messages,
        enums=data.ENUMS,
        errors=data.ERRORS,
        relations=relations,
        roles=roles,
        permissions=permissions,
        permission_names=permission_names,
        http_handlers=handlers,
        alerts={name: Alert(name, priority) for name, priority in data.ALERTS.items()},
    )


def _roles(rows: tuple[tuple[str, str, bool], ...]) -> dict[str, Role]:
    roles = {}
    rank = 0
    for name, uuid, internal in rows:
        apart = name == _MARKED_APART
        roles[name] = Role(name, uuid, f"OpaqueRef:{uuid}", internal, -1 if apart else rank)
        rank += not apart
    return roles


def _relations(data: Any) -> tuple[_Ends, tuple[Relation, ...]]:
    """Give the end of a relation each field is, and all first ends.

    A relation is declared with the end that holds the single reference first.
    """
    ends: _Ends = {}
    firsts = []
    for cls, field, other_cls, other_field, kind in data.RELATIONS:
        kind = _SWAPPED.get(kind, kind)
        first = Relation(cls, field, other_cls, other_field, kind)
        back = Relation(other_cls, other_field, cls, field, _SWAPPED.get(kind, kind))
        ends[cls, field] = first
        ends.setdefault((other_cls, other_field), back)
        firsts.append(first)
    return ends, tuple(firsts)


def _field(cls: str, row: tuple[Any, ...], ends: _Ends) -> FieldDef:
    name, notation, *others = row
    relation = ends.get((cls, name))
    if relation and row[_DANGLING_OK] and relation.kind not in _SWAPPED:
        relation = None  # both ends are plain data
    return FieldDef(cls, name, parse_type(notation), relation, *others)


@cache
def _param(name: str, notation: str) -> ParamDef:
    """Give the parameter without default; many messages share one."""
    return ParamDef(name, parse_type(notation))


def _message(cls: str, row: tuple[Any, ...]) -> MessageDef:
    name, params, result, role, others = row
    return MessageDef(
        cls,
        name,
        f"{cls}.{name}",
        tuple(
            _param(*p) if len(p) == 2 else ParamDef(p[0], parse_type(p[1]), p[2]) for p in params
        ),
        parse_type(result),
        role,
        mandatory=sum(len(p) == 2 for p in params),
        **others,
    )


def _class(row: tuple[Any, ...], ends: _Ends, *, where: bool) -> ClassDef:
    name, flags, field_rows, message_rows = row
    fields = {f[0]: _field(name, f, ends) for f in field_rows}
    seen = tuple(f for f in fields.values() if not f.internal)
    explicit = {m[0]: _message(name, m) for m in message_rows}
    before, after = _implicit(name, flags, seen, ends, where=where) if flags["in_db"] else ([], [])
    messages = {m.name: m for m in before}
    messages.update(explicit)
    for m in after:
        messages.setdefault(m.name, m)
    return ClassDef(name, fields=fields, wire_fields=seen, messages=messages, **flags)


def _implicit(
    cls: str, flags: dict[str, Any], seen: tuple[FieldDef, ...], ends: _Ends, *, where: bool
) -> tuple[list[MessageDef], list[MessageDef]]:
    """Give the implicit messages that stand before and after the explicit ones."""
    rules = ImplicitRules(
        cls,
        role=flags["role"],
        client_cert=flags["client_cert"],
        implicit_role=flags["implicit_role"],
        removed=flags["removed"],
        since=flags["since"],
    )
    before = [
        *rules.of_row(ctor=flags["ctor"], by_name_label=flags["by_name_label"]),
        *(rules.getter(f) for f in seen),
        *(m for f in seen for m in rules.setters(f, many_to_many=_both_stored(f, ends))),
    ]
    return before, list(rules.of_all_rows(where=where)) if flags["get_all"] else []


def _both_stored(field: FieldDef, ends: _Ends) -> bool:
    match field.type:
        case SetOf(RefOf()):
            end = ends.get((field.cls, field.name))
            return end is not None and end.kind == "many-to-many"
    return False
