"""Both profiles hold exactly what the interface they stand for holds."""

import re
import subprocess
import sys
from typing import Any

import pytest

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import (
    REQUIRED,
    Bool,
    FieldDef,
    MapOf,
    Model,
    ParamDef,
    RecordOf,
    RefOf,
    SetOf,
    String,
    Void,
)
from xapi_py.datamodel.profiles import Profile, load_model

OLD = load_model("7.1")
NEW = load_model("newest")
BOTH = load_model("all")


def counts(model: Model) -> dict[str, int]:
    explicit = [m for m in model.messages.values() if m.implicit is None]
    implicit = [m for m in model.messages.values() if m.implicit is not None]
    where = [m for m in implicit if m.name.endswith("_where")]
    fields = [f for c in model.classes.values() for f in c.fields.values()]
    return {
        "classes": len(model.classes),
        "fields": sum(not f.internal for f in fields),
        "internal fields": sum(f.internal for f in fields),
        "explicit": len(explicit),
        "hidden": sum(m.hidden for m in explicit),
        "implicit": len(implicit) - len(where),
        "where": len(where),
        "errors": len(model.errors),
        "undeclared errors": sum(p is None for p in model.errors.values()),
        "enums": len(model.enums),
        "enum values": sum(len(v) for v in model.enums.values()),
        "relations": len(model.relations),
        "http handlers": len(model.http_handlers),
        "alerts": len(model.alerts),
    }


def test_7_1_is_complete() -> None:
    assert counts(OLD) == {
        "classes": 52,
        "fields": 651,
        "internal fields": 27,
        "explicit": 468,
        "hidden": 83,
        "implicit": 1088,
        "where": 44,
        "errors": 441,
        "undeclared errors": 17,
        "enums": 43,
        "enum values": 218,
        "relations": 50,
        "http handlers": 55,
        "alerts": 65,
    }


def test_newest_is_complete() -> None:
    assert counts(NEW) == {
        "classes": 73,
        "fields": 922,
        "internal fields": 29,
        "explicit": 678,
        "hidden": 127,
        "implicit": 1456,
        "where": 124,
        "errors": 634,
        "undeclared errors": 29,
        "enums": 75,
        "enum values": 366,
        "relations": 64,
        "http handlers": 57,
        "alerts": 108,
    }


def permissions_by_role(model: Model) -> dict[str, int]:
    held = model.permissions.values()
    return {role: sum(role in roles for roles in held) for role in model.roles}


def test_roles_hold_as_many_permissions_as_a_real_server_gives_them() -> None:
    assert permissions_by_role(OLD) == {
        "pool-admin": 1652,
        "pool-operator": 1591,
        "vm-power-admin": 1219,
        "vm-admin": 1181,
        "vm-operator": 1029,
        "read-only": 954,
    }
    assert permissions_by_role(NEW) == {
        "pool-admin": 2284,
        "pool-operator": 2150,
        "vm-power-admin": 1666,
        "vm-admin": 1626,
        "vm-operator": 1464,
        "client-cert": 1428,
        "read-only": 1384,
    }


def test_all_is_a_superset_of_both() -> None:
    for model in (OLD, NEW):
        assert model.classes.keys() <= BOTH.classes.keys()
        assert model.messages.keys() <= BOTH.messages.keys()
        assert model.errors.keys() <= BOTH.errors.keys()
        for name, values in model.enums.items():
            assert set(values) <= set(BOTH.enums[name])
        for name, cls in model.classes.items():
            assert cls.fields.keys() <= BOTH.classes[name].fields.keys()


def test_api_versions() -> None:
    assert (OLD.api_version, OLD.schema_version) == ((2, 6), (5, 108))
    assert (NEW.api_version, NEW.schema_version) == ((2, 23), (5, 909))


def test_a_profile_is_built_once() -> None:
    assert load_model("7.1") is OLD


def test_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError):
        load_model("7.2")  # type: ignore[arg-type]


def shape(params: tuple[ParamDef, ...]) -> list[tuple[str, Any]]:
    return [(p.name, p.type) for p in params]


def test_messages_of_a_map_field() -> None:
    key, value = ("key", String()), ("value", String())
    self_ = ("self", RefOf("VBD"))
    add = NEW.messages["VBD.add_to_other_config"]
    assert shape(add.params) == [self_, key, value]
    assert (add.result, add.implicit, add.role) == (Void(), "add_to", "vm-admin")
    assert shape(NEW.messages["VBD.remove_from_other_config"].params) == [self_, key]
    setter = NEW.messages["VBD.set_other_config"]
    assert shape(setter.params) == [self_, ("value", MapOf(String(), String()))]
    assert not setter.is_async


def test_messages_of_a_class() -> None:
    create = OLD.messages["VBD.create"]
    assert shape(create.params) == [("args", RecordOf("VBD"))]
    assert (create.result, create.is_async, create.mandatory) == (RefOf("VBD"), True, 1)
    assert "VBD.get_by_name_label" not in OLD.messages
    assert OLD.messages["VM.get_by_name_label"].result is SetOf(RefOf("VM"))
    assert "VM.get_all_where" not in OLD.messages
    assert NEW.messages["VM.get_all_where"].hidden
    assert OLD.messages["VM.get_all_records_where"].hidden


def test_computed_sets_have_no_setters() -> None:
    assert "VM.set_VBDs" not in NEW.messages
    assert "VM.get_VBDs" in NEW.messages


def test_explicit_message_stands_for_the_implicit_one() -> None:
    assert OLD.messages["VTPM.create"].implicit == "create"
    assert NEW.messages["VTPM.create"].implicit is None
    assert BOTH.messages["VTPM.create"].implicit is None


def test_optional_parameters_stand_last_and_are_not_mandatory() -> None:
    login = NEW.messages["session.login_with_password"]
    assert login.mandatory == 2
    assert [p.default for p in login.params] == [REQUIRED, REQUIRED, "1.1", ""]
    assert not login.needs_session
    for message in BOTH.messages.values():
        given = [p.default is REQUIRED for p in message.params]
        assert given == sorted(given, reverse=True), message.wire_name


def fits(value: Any, field: FieldDef | ParamDef) -> bool:
    match field.type:
        case SetOf():
            return isinstance(value, tuple)
        case MapOf():
            return isinstance(value, dict)
        case Bool():
            return isinstance(value, bool)
    name = str(field.type)
    if name in ("int", "datetime"):
        return type(value) is int
    if name == "float":
        return isinstance(value, float)
    return isinstance(value, str) or (value is None and name.startswith("option"))


@pytest.mark.parametrize("model", [OLD, NEW, BOTH], ids=["7.1", "newest", "all"])
def test_every_default_is_a_data_value_of_its_type(model: Model) -> None:
    for cls in model.classes.values():
        for field in cls.fields.values():
            assert fits(field.default, field), (cls.name, field.name)
    for message in model.messages.values():
        for param in message.params:
            assert param.default is REQUIRED or fits(param.default, param), message.wire_name


def test_zero_date_is_zero_seconds() -> None:
    assert NEW.classes["VM"].fields["snapshot_time"].default == 0


@pytest.mark.parametrize("model", [OLD, NEW, BOTH], ids=["7.1", "newest", "all"])
def test_both_ends_of_a_relation_name_each_other(model: Model) -> None:
    for cls in model.classes.values():
        for field in cls.fields.values():
            if field.relation is None:
                continue
            relation = field.relation
            other = model.classes[relation.other_cls].fields[relation.other_field]
            assert other.relation is not None
            back = (other.relation.other_cls, other.relation.other_field)
            assert back == (cls.name, field.name)
            single = isinstance(field.type, RefOf)
            assert single == (relation.kind == "many-to-one"), (cls.name, field.name)


def test_kinds_of_relation_ends() -> None:
    def kind(cls: str, field: str) -> str | None:
        relation = NEW.classes[cls].fields[field].relation
        return relation.kind if relation else None

    assert kind("VBD", "VM") == "many-to-one"
    assert kind("VM", "VBDs") == "one-to-many"
    assert kind("VM", "groups") == "many-to-many"
    assert kind("role", "subroles") is None
    assert kind("subject", "roles") is None


def test_nested_fields_have_two_underscores_in_the_database_only() -> None:
    fields = NEW.classes["VM"].fields
    assert fields["name_label"].db_name == "name__label"
    assert fields["VCPUs_max"].db_name == "VCPUs__max"
    assert fields["memory_static_max"].db_name == "memory__static_max"
    assert fields["other_config"].db_name == "other_config"
    assert NEW.classes["host"].fields["API_version_major"].db_name == "API_version__major"


def test_permissions_on_single_map_keys() -> None:
    admins = frozenset(["pool-admin"])
    assert OLD.permissions["vm.add_to_other_config/key:pci"] == admins
    assert "vm-operator" in OLD.permissions["vm.add_to_other_config/key:folder"]
    assert "vm.add_to_other_config/key:hvm_serial" not in OLD.permissions
    assert NEW.permissions["vm.add_to_other_config/key:hvm_serial"] == admins
    assert OLD.messages["VM.add_to_other_config"].key_roles["pci"] == "pool-admin"


def test_permissions_of_messages_and_handlers() -> None:
    assert OLD.permissions["vm.start"] == frozenset(
        ["pool-admin", "pool-operator", "vm-power-admin", "vm-admin", "vm-operator"]
    )
    assert "client-cert" in NEW.permissions["vm.start_on"]
    assert "client-cert" in NEW.permissions["vm.get_record"]
    assert "client-cert" not in NEW.permissions["vm.start"]
    assert "vm.hard_reboot_internal" not in OLD.permissions
    assert OLD.permissions["task.destroy/any"] == frozenset(["pool-admin", "pool-operator"])
    assert OLD.permissions["http/connect_console/host_console"] == frozenset(["pool-admin"])


def test_messages_whose_lifecycle_is_over() -> None:
    assert NEW.messages["VMPP.get_all"].removed
    assert NEW.messages["VM.snapshot_with_quiesce"].removed
    assert not OLD.messages["VM.snapshot_with_quiesce"].removed
    assert not OLD.messages["VM.start"].removed


def test_older_profile_shortens_the_parameters_of_errors() -> None:
    params = ("VM", "OpaqueRef:1", "start", "OpaqueRef:2")
    busy = ApiError("OTHER_OPERATION_IN_PROGRESS", *params)
    assert OLD.as_sent(busy).params == params[:2]
    assert NEW.as_sent(busy).params == params
    assert OLD.as_sent(err.LICENSE_CHECKOUT_ERROR("7", "no seat")).params == ("no seat",)
    assert OLD.as_sent(err.PIF_HAS_NO_NETWORK_CONFIGURATION("OpaqueRef:1")).params == ()
    in_use = ApiError("SR_BACKEND_FAILURE_46", "", "in use")
    assert OLD.as_sent(in_use).params == ("", "in use")


def test_an_error_of_some_profiles_only_is_the_general_one_for_others() -> None:
    error = err.VM_LACKS_FEATURE_SUSPEND("OpaqueRef:1")
    assert OLD.as_sent(error).description == ["VM_LACKS_FEATURE_SUSPEND", "OpaqueRef:1"]
    assert NEW.as_sent(error).description == ["VM_LACKS_FEATURE", "OpaqueRef:1"]


@pytest.mark.parametrize("profile", ["7.1", "newest", "all"])
def test_every_class_and_enum_a_type_names_exists(profile: Profile) -> None:
    model = load_model(profile)
    known = {
        "ref": model.classes.keys(),
        "record": model.classes.keys(),
        "enum": model.enums.keys(),
    }
    types = {p.type for m in model.messages.values() for p in m.params}
    types |= {m.result for m in model.messages.values()}
    types |= {f.type for c in model.classes.values() for f in c.fields.values()}
    for text in map(str, types):
        for kind, name in re.findall(r"(ref|record|enum) (\w+)", text):
            assert name in known[kind], text


def test_loading_reads_no_yaml() -> None:
    code = (
        "import sys; from xapi_py.datamodel.profiles import load_model; load_model('7.1');"
        "sys.exit('yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
