"""Reading command lines and laying out what is printed."""

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.server import directory_user
from tests.unit.cli.local_cli import LocalCli
from xapi_py.api.call import Caller
from xapi_py.cli.forms import make_printer
from xapi_py.cli.printer import block
from xapi_py.cli.problems import CommandFailed, WrongSyntax
from xapi_py.cli.words import parse, parse_bool

RECORDS = [
    [("uuid ( RO)", "u1"), ("name-label ( RW)", "a,b")],
    [("uuid ( RO)", "u2"), ("name-label ( RW)", 'say "x"')],
]


def test_lines_are_words():
    words = parse("session_id=OpaqueRef:1\r\nvm-start\r\nvm=a=b\n--force\n-u\nbob\nlone")
    assert (words.session, words.command) == ("OpaqueRef:1", "vm-start")
    assert words.pairs == [("vm", "a=b"), ("force", "true"), ("username", "bob"), ("lone", "")]


def test_the_form_of_output_comes_in_one_word_or_two():
    assert parse("vm-list\n--output\njson\nx=y").output == "json"
    assert parse("vm-list\n--output=json").output == "json"
    assert parse("host-get-system-status\noutput=tar").output == ""


@pytest.mark.parametrize("body", ["", "=x", "a=b\nc", "vm-start\n-x"])
def test_what_cannot_be_read(body):
    with pytest.raises(WrongSyntax):
        parse(body)


def test_members_take_both_marks():
    words = parse("x\nother-config:a=1\nother-config-b=2\nother-config:a-b=3\nother=4")
    assert words.members("other-config") == {"a": "1", "b": "2", "a-b": "3"}


@pytest.mark.parametrize(
    ("text", "value"), [("TRUE", True), ("t", True), ("0", False), ("No", False)]
)
def test_truth_values(text, value):
    assert parse_bool("x", text) is value


def test_other_truth_values_are_refused():
    with pytest.raises(CommandFailed):
        parse_bool("x", "maybe")


def test_records_are_aligned():
    assert block(RECORDS[0]) == "uuid ( RO)          : u1\n    name-label ( RW): a,b\n\n"


def printed(form: str, minimal: bool = False) -> list[str]:
    out: list[str] = []
    printer = make_printer(out.append, out.append, form, minimal)
    printer.message("hello")
    printer.table(RECORDS)
    printer.listing(["x"])
    printer.flush()
    return out


def test_minimal_prints_once_the_latest_first():
    assert printed("", minimal=True) == [r"x,u1,u2"]


def test_commas_are_escaped():
    out: list[str] = []
    printer = make_printer(out.append, out.append, "", True)
    printer.listing(["a,b", "c\\d"])
    printer.flush()
    assert out == [r"a\,b,c\\d"]


def test_wrong_passwords_wait_and_are_refused(tmp_path):
    cli = LocalCli(tmp_path)
    done = cli.start("vm-list", "username=root", "password=wrong")
    assert not done.called
    cli.server.clock.advance(10)
    assert done.result == 1
    assert cli.last.err.startswith("Authentication failed\n")


def test_sessions_that_exist_are_used_and_kept(tmp_path):
    cli = LocalCli(tmp_path)
    session = cli.server.login()
    running = cli._line.run(f"session_id={session}\nhost-list\n--minimal", Caller(), cli.last)
    done = Deferred.fromCoroutine(running)
    assert done.result == 0
    assert cli.server.call("session.get_uuid", session, session)


def test_roles_hold(tmp_path):
    cli = LocalCli(tmp_path, users=(directory_user("read-only"),))
    cli.server.call(
        "subject.create",
        cli.server.login(),
        {"subject_identifier": "sid-read-only", "other_config": {}},
    )
    session = cli.server.login()
    subject = cli.server.call("subject.get_all", session)[0]
    (role,) = cli.server.call("role.get_by_name_label", session, "read-only")
    for old in cli.server.call("subject.get_roles", session, subject):
        cli.server.call("subject.remove_from_roles", session, subject, old)
    cli.server.call("subject.add_to_roles", session, subject, role)
    reader = cli.server.login("read-only", "pw")
    host = cli.out("host-list", "--minimal").strip()
    for line, status in (
        (f"host-list\nuuid={host}", 0),
        (f"host-param-set\nuuid={host}\nname-label=x", 1),
    ):
        running = cli._line.run(f"session_id={reader}\n{line}", Caller(), cli.last)
        assert Deferred.fromCoroutine(running).result == status
    assert "Your role does not allow this." in cli.last.err
