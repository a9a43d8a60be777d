"""json, yaml, csv and tables: what a program reads back is what was printed."""

import csv
import io
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cli.local_cli import LocalCli
from xapi_py.cli.forms import FORMS, csv_lines, error_text, make_printer, table_lines
from xapi_py.cli.values import Value

READERS = {"json": json.loads, "yaml": yaml.safe_load}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text("abcdefgh-", min_size=1, max_size=8)
RECORDS = st.lists(st.dictionaries(NAMES, TEXTS, min_size=1), min_size=1, max_size=4)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def printed(form: str, *records: list[tuple[str, str]]) -> str:
    out: list[str] = []
    printer = make_printer(out.append, out.append, form, False)
    printer.table(records)
    printer.flush()
    return "\n".join(out)


@settings(max_examples=40)
@given(RECORDS)
def test_texts_come_back_from_json_and_yaml(records):
    rows = [[(f"{name} ( RW)", value) for name, value in r.items()] for r in records]
    for form, read in READERS.items():
        assert read(printed(form, *rows)) == records


@given(DATA)
def test_lists_maps_and_numbers_come_back(data):
    for form, read in READERS.items():
        assert read(printed(form, [("x ( RO)", Value("text", data))])) == [{"x": data}]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_csv_comes_back(rows):
    text = "\n".join(csv_lines([{"a": a, "b": b} for a, b in rows]))
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found == [["a", "b"], *([a, b] for a, b in rows)]


def test_csv_of_one_empty_value_is_a_line():
    text = "\n".join(csv_lines([{"a": ""}, {"a": "x"}]))
    assert [r["a"] for r in csv.DictReader(io.StringIO(text))] == ["", "x"]


def test_table_columns_fit_wide_letters_and_keep_lines_whole():
    lines = table_lines([{"n": "日本", "v": "a\nb"}, {"n": "plain", "v": "c"}])
    assert lines == ["n      v", "-----  ---", "日本   a b", "plain  c"]


@pytest.mark.parametrize("form", FORMS)
def test_errors_have_code_text_and_parameters(form):
    text = error_text(form, "VM_BAD", 'It is "bad".\nReally.', {"vm": "u,1"})
    if form in READERS:
        assert READERS[form](text) == {
            "error": "VM_BAD",
            "message": 'It is "bad".\nReally.',
            "parameters": {"vm": "u,1"},
        }
    elif form == "csv":
        (row,) = csv.DictReader(io.StringIO(text, newline=""))
        assert row == {"error": "VM_BAD", "message": 'It is "bad".\nReally.', "vm": "u,1"}
    else:
        assert 'message  It is "bad". Really.' in text


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    return LocalCli(tmp_path_factory.mktemp("server"))


def read_json(cli: LocalCli, *words: str) -> object:
    return json.loads(cli.out(*words, "--output=json"))


def test_fields_have_their_types(cli):
    pool = cli.out("pool-list", "--minimal").strip()
    cli.out(
        "pool-param-set", f"uuid={pool}", "other-config:a=1; b: 2", "name-description=ä\x0bl\u2028n"
    )
    cli.out("pool-param-add", f"uuid={pool}", "param-name=tags", "param-key=x; y")
    cli.out("pool-param-add", f"uuid={pool}", "param-name=tags", "param-key=z")
    for form, read in READERS.items():
        (record,) = read(cli.out("pool-param-list", f"uuid={pool}", f"--output={form}"))
        assert record["tags"] == ["x; y", "z"]
        assert record["other-config"]["a"] == "1; b: 2"
        assert record["name-description"] == "ä\x0bl\u2028n"
        assert record["ha-enabled"] is False
        assert record["ha-host-failures-to-tolerate"] == 0
        assert record["crash-dump-SR"] is None
        assert isinstance(record["restrictions"], dict)
        assert isinstance(record["allowed-operations"], list)
        assert len(record["master"]) == 36


def test_single_values_have_their_types(cli):
    pool = cli.out("pool-list", "--minimal").strip()
    wanted = {"ha-enabled": False, "gui-config": {}, "blobs": {}, "uuid": pool}
    for name, value in wanted.items():
        words = ("pool-param-get", f"uuid={pool}", f"param-name={name}")
        assert read_json(cli, *words) == [value]


def test_nothing_found_is_an_empty_document(cli):
    assert read_json(cli, "vm-list", "name-label=nobody") == []
    assert yaml.safe_load(cli.out("vm-list", "name-label=nobody", "--output=yaml")) == []
    assert cli.out("vm-list", "name-label=nobody", "--output=csv") == ""


def test_every_record_can_be_written_in_every_form(cli):
    for record in cli.tables.records.values():
        if record.prefix == "template":
            continue  # as vm, but many
        classic = cli.out(f"{record.prefix}-list", "params=all")
        for form in FORMS:
            text = cli.out(f"{record.prefix}-list", "params=all", f"--output={form}")
            if form in READERS:
                found = READERS[form](text)
                assert len(found) == classic.count("\nuuid (") + classic.startswith("uuid (")
            elif form == "csv" and text:
                rows = list(csv.DictReader(io.StringIO(text, newline="")))
                assert all(None not in row for row in rows)


def test_errors_come_in_the_form_asked_for(cli):
    for words, code in (
        (("vm-strt",), "UNKNOWN_COMMAND"),
        (("vm-param-get", "uuid=x"), "MISSING_PARAMETER"),
        (("vm-param-get", "uuid=x", "param-name=name-label"), "UUID_INVALID"),
        (("vm-start", "vm=nobody"), "COMMAND_FAILED"),
        (("pool-param-get", f"uuid={cli.out('pool-list', '--minimal').strip()}", "param-name=x"),
         "UNKNOWN_FIELD"),
    ):  # fmt: skip
        assert cli.run(*words, "--output=json") == 1
        assert cli.last.out == ""
        assert json.loads(cli.last.err)["error"] == code


def test_fields_come_in_the_order_asked_for(cli):
    words = ("host-list", "params=name-label,uuid,enabled", "--output=csv")
    assert cli.out(*words).startswith("name-label,uuid,enabled\n")
    assert cli.run("host-list", "params=uuid,name-lable", "--output=csv") == 1
    assert "COMMAND_FAILED,Unknown field 'name-lable' (did you mean" in cli.last.err


def test_other_forms_are_refused(cli):
    assert cli.run("vm-list", "--output=xml") == 1
    assert cli.last.err == "Error: --output is one of json, yaml, csv, table, not 'xml'\n"
