"""Where the client's settings come from, and what is left for the server."""

import pytest

from xe.settings import UsageError, gather, read_password_file, split_extra


def test_command_line_wins_over_the_environment_and_the_file():
    settings = gather(
        ["-s", "a", "vm-list", "uuid=u"],
        "server=b,username=bob,params=all",
        "server=c\nusername=carl\npassword=pw\nextra=1\n",
    )
    assert settings.server == "a"
    assert settings.get("username") == "bob"
    assert settings.body().split("\n") == [
        "vm-list",
        "uuid=u",
        "params=all",
        "extra=1",
        "username=bob",
        "password=pw",
    ]


def test_defaults():
    settings = gather(["vm-list"], "", None)
    assert (settings.server, settings.is_local, settings.tls, settings.port) == (
        "127.0.0.1",
        True,
        False,
        0,
    )
    assert settings.body() == "vm-list\nusername=root\npassword=null"


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["vm-list", "-p", "99"], "port", "99"),
        (["vm-list", "port=99"], "port", "99"),
        (["vm-list", "-h", "x"], "server", "x"),
        (["vm-list", "-pwf", "f"], "passwordfile", "f"),
        (["vm-list", "--nossl"], "nossl", "true"),
        (["vm-list", "debugonfail=true"], "debugonfail", "true"),
        (["vm-list", "--traceparent", "t"], "traceparent", "t"),
    ],
)
def test_options_are_taken_anywhere_in_the_line(words, name, value):
    settings = gather(words, "", None)
    assert settings.get(name) == value
    assert settings.words == ["vm-list"]


def test_what_is_for_the_server_travels():
    words = ["vm-start", "--force", "--multiple", "--minimal", "--trace", "-x"]
    assert gather(words, "", None).words == words


def test_output_becomes_one_word():
    assert gather(["vm-list", "--output", "json"], "", None).words == ["vm-list", "--output=json"]


def test_commas_in_the_environment_can_be_escaped():
    assert split_extra(r"a=1\,2,b,,c=x") == ["a=1,2", "b", "c=x"]


def test_a_file_with_a_bad_line_is_not_used():
    settings = gather(["vm-list"], "", "server=x\nnonsense\n")
    assert settings.server == "127.0.0.1"
    assert settings.warnings


def test_the_last_of_repeated_options_in_the_file_counts():
    assert gather(["vm-list"], "", "server=x\nserver=y\n").server == "y"


def test_tls_is_for_other_machines():
    assert gather(["-s", "localhost", "vm-list"], "", None).tls
    assert not gather(["-s", "x", "--nossl", "vm-list"], "", None).tls
    assert gather(["-s", "[::1]", "vm-list"], "", None).server == "::1"


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_impossible_ports_are_refused(port):
    with pytest.raises(UsageError):
        gather(["vm-list", "-p", port], "", None).port  # noqa: B018


def test_an_option_without_its_value_is_refused():
    with pytest.raises(UsageError):
        gather(["vm-list", "-u"], "", None)


@pytest.mark.parametrize(
    ("words", "shown"),
    [([], "usage"), (["--help"], "usage"), (["-version"], "version"), (["--version"], "version")],
)
def test_what_needs_no_server(words, shown):
    assert gather(words, "", None).show == shown


def test_password_files_hold_two_lines():
    assert read_password_file("root\nsecret\nmore\n") == ("root", "secret")
    with pytest.raises(UsageError):
        read_password_file("root")
