"""Every list and field command of every class, on objects of every class."""

import pytest

from tests.unit.cli.local_cli import LocalCli
from xapi_py.cli.special_fields import SPECIAL_FIELDS
from xapi_py.cli.table import load_tables
from xapi_py.datamodel.model import MapOf, RefOf, SetOf, String

UUID = "00000000-0000-0000-0000-000000000001"
PROFILES = ["newest", "7.1"]


@pytest.fixture(scope="module", params=PROFILES)
def cli(request, tmp_path_factory):
    """A server with one more object of each class, members in its sets and maps."""
    cli = LocalCli(tmp_path_factory.mktemp("server"), request.param)
    refs = {}
    with cli.db.transaction() as tx:
        for record in cli.tables.records.values():
            if record.cls not in refs:
                refs[record.cls] = tx.create(record.cls, {"uuid": UUID})
    classes = cli.tables.model.classes
    with cli.db.transaction() as tx:
        for cls, ref in refs.items():
            for field in classes[cls].fields.values():
                target = field.type.cls if isinstance(field.type, RefOf) else None
                if target in refs and field.relation is None:
                    tx.set(cls, ref, field.name, refs[target])
                elif isinstance(field.type, SetOf) and isinstance(field.type.element, String):
                    tx.set(cls, ref, field.name, ("one", "two"))
                elif isinstance(field.type, MapOf) and str(field.type) == "map(string->string)":
                    tx.set(cls, ref, field.name, {"key": "value"})
    return cli


def prefixes(profile: str) -> list[str]:
    return list(load_tables(profile).records)


@pytest.mark.parametrize("prefix", prefixes("newest"))
def test_lists_and_single_fields(cli, prefix):
    record = cli.tables.records.get(prefix)
    if record is None:
        pytest.skip("not in this profile")
    listed = cli.out(f"{prefix}-list", "params=all")
    if not record.filters and record.where == "true":
        assert UUID in listed
    whole = cli.out(f"{prefix}-param-list", f"uuid={UUID}")
    shown = [f for f in record.fields.values() if not f.hidden]
    assert len(whole.rstrip("\n").split("\n")) >= len(shown)
    for field in record.fields.values():
        cli.out(f"{prefix}-param-get", f"uuid={UUID}", f"param-name={field.name}")
        assert (field.label in whole) is not field.hidden


@pytest.mark.parametrize("prefix", prefixes("newest"))
def test_writers_exist_and_refuse_what_cannot_be_written(cli, prefix):
    record = cli.tables.records.get(prefix)
    if record is None:
        pytest.skip("not in this profile")
    verbs = {c.verb for c in cli.tables.commands.values() if c.record is record}
    uuid = f"uuid={UUID}"
    for field in record.fields.values():
        named = f"param-name={field.name}"
        if "param-set" in verbs and not field.setter and field.name != "uuid":
            assert cli.run(f"{prefix}-param-set", uuid, f"{field.name}=x") == 1
            assert f"Field '{field.name}' is " in cli.last.err
        if "param-add" in verbs and not (field.adder or field.set_map):
            assert cli.run(f"{prefix}-param-add", uuid, named, "param-key=x") == 1
        if "param-remove" in verbs:
            assert cli.run(f"{prefix}-param-remove", uuid, named, "param-key=nosuch") == 1
        if "param-clear" in verbs and not (field.setter or field.is_set or field.is_map):
            assert cli.run(f"{prefix}-param-clear", uuid, named) == 1
            assert cli.last.err == "Error: Can only clear RW parameters\n"


def test_every_special_field_is_used_and_every_call_exists():
    used = set()
    for profile in PROFILES:
        tables = load_tables(profile)
        for record in tables.records.values():
            for field in record.fields.values():
                assert len([x for x in (field.path, field.call, field.special) if x]) == 1
                used.add(field.special)
                if profile == "newest" and field.call:
                    assert field.call in tables.model.messages
    assert used - {""} == set(SPECIAL_FIELDS)


def test_every_writer_is_a_message_with_a_value():
    tables = load_tables("newest")
    for record in tables.records.values():
        for field in record.fields.values():
            for name in (field.setter, field.adder, field.remover, field.set_in_map):
                assert not name or len(tables.model.messages[name].params) >= 2
