"""xe help: by topic on a terminal, the original's layout elsewhere."""

import json

import pytest
from twisted.internet.defer import Deferred

from tests.unit.cli.local_cli import LocalCli, Recorder
from xapi_py.api.call import Caller
from xapi_py.cli.topics import OTHER, TOPICS, by_topic


@pytest.fixture(scope="module", params=["newest", "7.1"])
def cli(request, tmp_path_factory):
    return LocalCli(tmp_path_factory.mktemp("server"), request.param)


def on_terminal(cli: LocalCli, *words: str, width: int = 80) -> str:
    client = Recorder()
    running = cli._line.run("\n".join(words), Caller(), client, width)
    assert Deferred.fromCoroutine(running).result == 0
    return client.out


def test_every_command_has_a_topic(cli):
    topics = by_topic(cli.tables.commands.values())
    assert OTHER not in topics
    assert list(topics) == [t for t in TOPICS if t in topics]
    assert sum(map(len, topics.values())) == len(cli.tables.commands)


def test_help_on_a_terminal_is_by_topic_and_fits(cli):
    for words in (("help",), ("help", "--all"), ("help", "vm"), ("help", "vm-list")):
        for width in (60, 80, 200):
            text = on_terminal(cli, *words, width=width)
            lines = [line for line in text.split("\n") if len(line) > max(width, 85)]
            assert not lines, lines
    common = on_terminal(cli, "help")
    assert "\nVirtual machines\n" in common
    assert "vm-start " in common
    everything = on_terminal(cli, "help", "--all")
    for command in cli.tables.commands.values():
        if "hidden" not in command.flags:
            assert command.name in everything


def test_the_originals_layout_is_kept_elsewhere(cli):
    plain = cli.out("help")
    assert "Common command list\n-------------------\n" in plain
    assert on_terminal(cli, "help", "--plain") == plain
    assert cli.out("help", "--grouped") != plain
    assert cli.out("help", "vm-start").startswith("command name            : vm-start\n")
    assert on_terminal(cli, "help", "--minimal") == cli.out("help", "--minimal")


def test_help_for_the_commands_that_begin_alike(cli):
    text = cli.out("help", "vlan")
    assert "  vlan-create " in text
    assert cli.out("help", "nosuch") == "Unknown command 'nosuch'\n"
    assert cli.out("help", "vm-strt") == "Unknown command 'vm-strt' (did you mean 'vm-start'?)\n"


def test_help_for_programs(cli):
    found = json.loads(cli.out("help", "--all", "--output=json"))
    assert {r["command name"] for r in found} >= {"vm-start", "host-list"}
    (one,) = json.loads(cli.out("help", "vm-start", "--output=json"))
    assert one["command name"] == "vm-start"
