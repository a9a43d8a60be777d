"""The data model of one profile as plain immutable objects.

Everything here is data: which classes, fields and messages exist, their
types, defaults and roles.  ``xapi_py.datamodel.profiles.load_model`` builds it.
"""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from xapi_py.base.errors import ApiError
from xapi_py.datamodel._generated import error_codes
from xapi_py.datamodel.value_types import (
    AnyRecord,
    Bool,
    DateTime,
    EnumOf,
    Float,
    Int,
    MapOf,
    OptionOf,
    RecordOf,
    RefOf,
    SecretString,
    SetOf,
    String,
    Type,
    Void,
    parse_type,
)

__all__ = [
    "REQUIRED",
    "Alert",
    "AnyRecord",
    "Bool",
    "ClassDef",
    "DateTime",
    "EnumOf",
    "FieldDef",
    "Float",
    "HttpHandler",
    "Int",
    "MapOf",
    "MessageDef",
    "Model",
    "OptionOf",
    "ParamDef",
    "RecordOf",
    "RefOf",
    "Relation",
    "Required",
    "Role",
    "SecretString",
    "SetOf",
    "String",
    "Type",
    "Void",
    "parse_type",
]


_GENERAL_ERRORS: Final = dict.fromkeys(
    (
        "VM_LACKS_FEATURE_SHUTDOWN",
        "VM_LACKS_FEATURE_SUSPEND",
        "VM_LACKS_FEATURE_VCPU_HOTPLUG",
        "VM_LACKS_FEATURE_STATIC_IP_SETTING",
    ),
    "VM_LACKS_FEATURE",
)
"""Errors that only some profiles have, and what the others send."""


class Required(Enum):
    """The type of ``REQUIRED``, which stands where there is no default."""

    REQUIRED = "required"


REQUIRED: Final = Required.REQUIRED


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """One end of a two-way reference.

    ``kind`` is seen from this end: "many-to-one" holds the single reference,
    "one-to-many" is the computed set, "many-to-many" is stored on both ends.
    """

    cls: str
    field: str
    other_cls: str
    other_field: str
    kind: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FieldDef:
    """One field of a class.

    ``default`` is a data value, the zero of the type where the model gives
    none (``has_default`` tells them apart).  ``qualifier`` is "RW" (settable
    and in the constructor), "static" (constructor only) or "dynamic" (set by
    the server only).  ``key_roles`` names map keys with a role of their own;
    a trailing ``*`` matches any ending.
    """

    cls: str
    name: str
    type: Type
    relation: Relation | None
    db_name: str
    qualifier: str
    default: Any
    has_default: bool
    required: bool
    persist: bool
    internal: bool
    dangling_ok: bool
    write_role: str
    read_role: str
    client_cert: bool
    key_roles: Mapping[str, str]
    removed: bool
    since: str
    deprecated: str
    doc: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ParamDef:
    """A parameter after the session; ``default`` is ``REQUIRED`` or a value."""

    name: str
    type: Type
    default: Any = REQUIRED


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class MessageDef:
    """One callable message.

    ``implicit`` is ``None`` for a message of the model's own, else the rule
    that makes it ("get", "set", "get_all" ...), and ``field`` is the field
    such a rule is about.  ``role`` is the lowest role that may call it;
    "local-root" is no role at all.  ``mandatory`` counts the parameters that
    cannot be left out.  ``removed`` messages answer MESSAGE_REMOVED.
    """

    cls: str
    name: str
    wire_name: str
    params: tuple[ParamDef, ...]
    result: Type
    role: str
    implicit: str | None = None
    field: FieldDef | None = None
    client_cert: bool = False
    key_roles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    errors: tuple[str, ...] = ()
    is_async: bool = False
    needs_session: bool = True
    pool_internal: bool = False
    hidden: bool = False
    secret: bool = False
    removed: bool = False
    plugin: str = ""
    since: str = ""
    deprecated: str = ""
    doc: str = ""
    mandatory: int = 0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ClassDef:
    """One class; ``wire_fields`` are the fields a client sees, in order."""

    name: str
    in_db: bool
    ctor: bool
    events: bool
    get_all: bool
    by_uuid: bool
    by_name_label: bool
    persist: bool
    role: str
    client_cert: bool
    implicit_role: str
    removed: bool
    since: str
    deprecated: str
    doc: str
    fields: Mapping[str, FieldDef]
    wire_fields: tuple[FieldDef, ...]
    messages: Mapping[str, MessageDef]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Role:
    """A role; ``rank`` 0 is the most privileged, -1 stands apart."""

    name: str
    uuid: str
    ref: str
    internal: bool
    rank: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HttpHandler:
    """An HTTP entry point; ``sub`` maps sub-actions to their lowest role."""

    name: str
    method: str
    path: str
    role: str
    client_cert: bool
    rbac: bool
    sdk: bool
    args: Mapping[str, str]
    sub: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """An alert name with its priority, 1 (urgent) to 5 (information)."""

    name: str
    priority: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Everything one profile offers.

    ``messages`` holds explicit and implicit messages under their wire names.
    ``permissions`` maps a permission name in lower case to the roles that
    have it; ``permission_names`` gives the same permissions in the spelling
    of the model, from which the uuid of a permission row is made.
    ``errors`` maps a code to its parameter names, ``None`` if undeclared.
    """

    profile: str
    api_version: tuple[int, int]
    schema_version: tuple[int, int]
    classes: Mapping[str, ClassDef]
    messages: dict[str, MessageDef]
    enums: Mapping[str, tuple[str, ...]]
    errors: Mapping[str, tuple[str, ...] | None]
    relations: tuple[Relation, ...]
    roles: Mapping[str, Role]
    permissions: Mapping[str, frozenset[str]]
    permission_names: tuple[str, ...]
    http_handlers: Mapping[str, HttpHandler]
    alerts: Mapping[str, Alert]

    def as_sent(self, error: ApiError) -> ApiError:
        """Give an error as this profile's servers send it.

        Code raises the most telling error of all profiles.  A profile that
        does not have it sends the general one; an older one may declare fewer
        parameters, or only the last of them.
        """
        code = error.code
        if code not in self.errors:
            code = _GENERAL_ERRORS.get(code, code)
        return ApiError(code, *self._params(code, error.params))

    def _params(self, code: str, params: tuple[str, ...]) -> tuple[str, ...]:
        """Servers add parameters to errors that declare none, so these are left alone."""
        names = self.errors.get(code)
        newest = getattr(error_codes, code, None)
        if names is None or newest is None or newest.params == names:
            return params
        if len(names) >= len(params):
            return params
        return params[-len(names) :] if names == ("reason",) else params[: len(names)]
