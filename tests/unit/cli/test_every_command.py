"""Every command answers in words when what it names does not exist."""

import pytest
import yaml

from tests.unit.cli.local_cli import LocalCli, Recorder
from xapi_py.api.dispatch import OF_COMMANDS
from xapi_py.api.registry import load_all
from xapi_py.cli.compile import TABLES
from xapi_py.cli.registry import load_commands
from xapi_py.cli.table import CommandSpec, load_tables
from xapi_py.datamodel.unimplemented import ERROR_OF

NOBODY = "00000000-0000-0000-0000-000000000099"
TEXTS = {
    "mode": "dhcp",
    "type": "user",
    "class": "vm",
    "vlan": "3",
    "priority": "3",
    "frequency": "daily",
    "ldaps": "true",
    "value": "true",
    "mark": "true",
    "update": "true",
    "ca": "true",
    "multiplier": "1.0",
    "primary_address_type": "IPv4",
    "update-sync-frequency": "daily",
    "placement": "normal",
}
NUMBERS = ("size", "port", "day", "min", "max", "memory", "target", "total", "vcpus", "seconds")
NUMBERS += ("allocation", "quantum", "rate")
CASES = [
    (profile, name)
    for profile in ("newest", "7.1")
    for name, command in load_tables(profile).commands.items()
    if not command.verb
]


@pytest.fixture(scope="module")
def clis(tmp_path_factory):
    return {p: LocalCli(tmp_path_factory.mktemp("server"), p) for p in ("newest", "7.1")}


def value_of(command: CommandSpec, name: str) -> str:
    if "uuid" in name:
        return NOBODY
    if command.name == "vmss-create" and name == "type":
        return "snapshot"
    return TEXTS.get(name) or ("5" if name.endswith(NUMBERS) else "x")


@pytest.mark.parametrize(("profile", "name"), CASES)
def test_command_answers(clis, profile, name):
    cli = clis[profile]
    command = cli.tables.commands[name]
    words = [f"{n}={value_of(command, n)}" for n in command.required]
    optional = [f"{n}={value_of(command, n)}" for n in command.optional if "uuid" in n]
    for given in (words, [*words, *optional, "--force"]):
        client = Recorder(files={"x": b"content"})
        done = cli.start(name, *given, client=client)
        if not done.called:
            cli.server.clock.advance(4000)
        if not done.called:
            done.cancel()
        done.addErrback(lambda failure: None)
        assert "[log " not in client.err
        assert "Syntax error" not in client.err
        assert "Required parameter" not in client.err or "database:" in client.err or optional


def test_commands_without_their_feature_are_known():
    """A plain command lacks what its message lacks; the others are listed in one place."""
    handlers, own = load_all(), load_commands()
    lacking = set()
    for profile in ("newest", "7.1"):
        tables = load_tables(profile)
        for command in tables.commands.values():
            if command.do is None or command.name in own:
                continue
            message = tables.model.messages.get(command.do[0])
            if command.do[0] in OF_COMMANDS:
                continue
            if message is None:
                lacking.add(command.name)
            else:
                known = message.implicit or message.wire_name in handlers or message.removed
                assert known or message.wire_name in ERROR_OF, command.name
    listed = yaml.safe_load((TABLES / "not_landed.yaml").read_text("utf-8"))
    assert lacking == set(listed["without_message"])
    assert set(listed["with_code"]) <= set(own)
