import pytest

from tests.unit.api.server import Server

ECHO = """#!/usr/bin/env python3
import sys, xmlrpc.client
(session, args), name = xmlrpc.client.loads(sys.argv[1])
if name == "crash":
    print("went wrong", file=sys.stderr)
    sys.exit(3)
if name == "babble":
    print("not an answer")
    sys.exit(0)
value = name + ":" + ",".join(f"{k}={v}" for k, v in sorted(args.items()))
answer = {"Status": "Success", "Value": value}
if name == "fail":
    answer = {"Status": "Failure", "ErrorDescription": ["MY_ERROR", "one", "two"]}
print(xmlrpc.client.dumps((answer,), "", True))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "plugins").mkdir()
    (folder / "extensions").mkdir()
    plugin = folder / "plugins" / "echo-args"
    plugin.write_text(ECHO, encoding="utf-8")
    plugin.chmod(0o755)
    (folder / "plugins" / "not-executable").write_text(ECHO, encoding="utf-8")
    (folder / "secret").write_text("#!/bin/sh\n")
    (folder / "secret").chmod(0o755)
    extension = folder / "extensions" / "say.it"
    extension.write_text("#!/bin/sh\ncat\n")
    extension.chmod(0o755)
    return Server(folder)


def plugin(server: Server, name: str, function: str = "hello") -> tuple:
    session = server.login()
    return "host.call_plugin", session, server.this_host, name, function, {"a": "1", "b": "ü"}


def test_plugin_gets_its_arguments_and_answers(server: Server) -> None:
    assert server.call(*plugin(server, "echo-args")) == "hello:a=1,b=ü"


def test_plugin_answers_an_error_of_its_own(server: Server) -> None:
    assert server.refusal(*plugin(server, "echo-args", "fail")) == ["MY_ERROR", "one", "two"]


def test_plugin_that_fails_shows_its_output(server: Server) -> None:
    assert server.refusal(*plugin(server, "echo-args", "crash")) == [
        "XENAPI_PLUGIN_FAILURE",
        "non-zero exit",
        "",
        "went wrong\n",
    ]


def test_plugin_that_answers_rubbish_failed(server: Server) -> None:
    refused = server.refusal(*plugin(server, "echo-args", "babble"))
    assert refused[:3] == ["XENAPI_PLUGIN_FAILURE", "unparsable answer", "not an answer\n"]


@pytest.mark.parametrize(
    "name", ["nosuch", "", ".", "..", "../secret", "/bin/ls", "a/b", "not-executable"]
)
def test_only_programs_of_the_folder_are_plugins(server: Server, name: str) -> None:
    assert server.refusal(*plugin(server, name)) == ["XENAPI_MISSING_PLUGIN", name]


def test_extension_gets_the_call(server: Server) -> None:
    session, host = server.login(), server.this_host
    assert server.call("host.has_extension", session, host, "say.it")
    assert server.call("pool.has_extension", session, server.this_pool, "say.it")
    answer = server.call("host.call_extension", session, host, '{"method": "say.it"}')
    assert answer == '{"method": "say.it"}'


def test_extension_must_exist_and_the_call_be_one(server: Server) -> None:
    session, host = server.login(), server.this_host
    assert server.refusal("host.call_extension", session, host, "no.such")[0] == "INTERNAL_ERROR"
    answer = server.refusal("host.call_extension", session, host, '{"method": "../x"}')
    assert answer == ["MESSAGE_METHOD_UNKNOWN", "../x"]
