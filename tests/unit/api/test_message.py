"""Alerts: which a client gets, in which order, however many there are."""

import time
import xmlrpc.client
from pathlib import Path

import pytest

from tests.unit.api.server import Server


@pytest.mark.parametrize("number", [3, 100])
def test_alerts_come_newest_first(tmp_path: Path, number: int) -> None:
    server = Server(tmp_path)
    session, uuid = server.login(), server.db.row("pool", server.this_pool).uuid
    start = int(server.clock.seconds())
    for count in range(number):
        server.clock.advance(1)
        server.call("message.create", session, f"alert {count}", str(count), "Pool", uuid, "")
    names = [f"alert {count}" for count in reversed(range(number))]

    def named(method: str, *arguments: object) -> list[str]:
        answer = server.send(method, session, *arguments)
        server.clock.advance(0)
        return [record["name"] for record in server.value_of(answer).values()]

    assert named("message.get_all_records") == names
    assert named("message.get_all_records_where", 'field "cls" = "Pool"') == names
    assert named("message.get_all_records_where", 'field "name" = "alert 1"') == ["alert 1"]
    assert named("message.get_since", _date(start + number)) == names[:1]
    assert named("message.get", "Pool", uuid, _date(start + 2)) == names[:-1]


def _date(seconds: int) -> object:
    text = time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime(seconds))
    return xmlrpc.client.DateTime(text)
