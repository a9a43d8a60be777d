"""The tables of the command line: generated files, texts of errors, calls."""

import pytest

from xapi_py.cli import compile as tables
from xapi_py.cli._generated.error_texts import ERROR_TEXTS
from xapi_py.cli.table import load_tables
from xapi_py.datamodel import errors
from xapi_py.datamodel.generated_modules import stale


def test_generated_files_are_up_to_date():
    assert stale(tables.generate(), tables.OUTPUT) == []


def test_every_text_is_about_an_error_of_the_model():
    assert not [code for code in ERROR_TEXTS if not hasattr(errors, code)]


def test_calls_have_as_many_arguments_as_their_message():
    loaded = load_tables("newest")
    for command in loaded.commands.values():
        if command.do is None or command.do[0] not in loaded.model.messages:
            continue
        message = loaded.model.messages[command.do[0]]
        method, takes_record, arguments = command.do
        if takes_record:
            fields = loaded.model.classes[message.cls].fields
            assert {name for name, _ in arguments} <= set(fields), command.name
        else:
            assert message.mandatory <= len(arguments) <= len(message.params), command.name


def test_arguments_are_parameters_of_the_command():
    for profile in ("newest", "7.1"):
        for command in load_tables(profile).commands.values():
            if command.do is None:
                continue
            for argument in command.do[2]:
                kind, name, _ = argument[1] if command.do[1] else argument
                if kind == "needed":
                    assert name in command.required or name.endswith("uuid"), (command.name, name)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (
            "VM.start(uuid, paused=false, @)",
            (
                "VM.start",
                False,
                (("needed", "uuid", ""), ("optional", "paused", "false"), ("selected", "", "")),
            ),
        ),
        ("pool.x(uuid=^pool, m:)", ("pool.x", False, (("pool", "uuid", ""), ("map", "m", "")))),
        (
            "A.create{f: a, g: b=}",
            ("A.create", True, (("f", ("needed", "a", "")), ("g", ("optional", "b", "")))),
        ),
    ],
)
def test_calls_are_read(text, parsed):
    assert tables.parse_do(text) == parsed


def test_what_is_no_call_is_refused():
    with pytest.raises(tables.TableError):
        tables.parse_do("start the VM")
