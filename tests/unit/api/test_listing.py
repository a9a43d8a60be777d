"""Listings of many objects: in slices, and still one moment's picture."""

import xmlrpc.client
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.server import Server
from xapi_py.api.call import Caller
from xapi_py.base.slices import Slices
from xapi_py.wire import jsonrpc
from xapi_py.wire.xmlrpc import XMLRPC

COUNT = 100


class SlowTime:
    """Every look at it is later by a slice, so that each step is a slice."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.003
        return self.now


@pytest.fixture
def server(tmp_path: Path) -> Server:
    made = Server(tmp_path)
    made.toolstack.slices = Slices(made.clock, SlowTime())
    with made.db.transaction() as tx:
        for number in range(COUNT):
            tx.create("network", {"name_label": f"before {number}"})
    made.settle()
    return made


def begin(server: Server, method: str, *params: Any) -> "Deferred[list[bytes]]":
    """Send a call that takes more than one turn."""
    body = xmlrpc.client.dumps((server.login(), *params), method).encode()
    XMLRPC.fragments.clear()
    answer = server.dispatcher.rpc(XMLRPC, XMLRPC.parse_request(body), Caller())
    assert isinstance(answer, Deferred)
    return answer


def test_a_long_listing_shows_no_change_made_after_the_call(server: Server) -> None:
    refs = server.db.refs("network")
    answer = begin(server, "network.get_all_records")
    with server.db.transaction() as tx:
        tx.set("network", refs[-1], "name_label", "changed")
        tx.set("network", refs[-1], "name_label", "changed twice")
        tx.delete("network", refs[-2])
        tx.create("PIF", {"network": refs[-3]})
        tx.create("network", {"name_label": "new"})
    with server.db.transaction() as tx:
        tx.set("network", refs[-4], "name_label", "changed")
    server.settle()
    records = server.value_of(answer)
    assert list(records) == list(refs)
    assert not [r for r in records.values() if "changed" in r["name_label"]]
    assert records[refs[-3]]["PIFs"] == []
    assert server.db.before_change == []


def test_a_long_listing_with_a_test_shows_what_matched_when_called(server: Server) -> None:
    refs = server.db.refs("network")
    expression = 'field "name__label" = "before 99"'
    answer = begin(server, "network.get_all_records_where", f"({expression}) or false")
    with server.db.transaction() as tx:
        tx.set("network", refs[-1], "name_label", "changed")
        tx.set("network", refs[-2], "name_label", "before 99")
    server.settle()
    assert [r["name_label"] for r in server.value_of(answer).values()] == ["before 99"]


def test_a_long_listing_reads_the_same_in_both_dialects(server: Server) -> None:
    answer: Any = begin(server, "network.get_all_records")
    server.settle()
    by_xml = server.value_of(answer)
    params = f'"params":["{server.login()}"]'
    body = f'{{"jsonrpc":"2.0","id":1,"method":"network.get_all_records",{params}}}'
    raw = jsonrpc.JSONRPC2.parse_request(body.encode())
    answer = server.dispatcher.rpc(jsonrpc.JSONRPC2, raw, Caller())
    server.settle()
    by_json = jsonrpc.orjson.loads(b"".join(answer.result))["result"]
    assert list(by_json) == list(by_xml)
    assert len(by_json) == len(server.db.refs("network"))


def test_a_snapshot_of_many_objects_arrives_whole_with_its_token(server: Server) -> None:
    refs = server.db.refs("network")
    answer = begin(server, "event.from", ["network"], "", 1.0)
    with server.db.transaction() as tx:
        tx.set("network", refs[-1], "name_label", "changed")
    server.settle()
    first = server.value_of(answer)
    assert [e["ref"] for e in first["events"]] == list(refs)
    assert {e["operation"] for e in first["events"]} == {"add"}
    session = server.login()
    later = server.call("event.from", session, ["network"], first["token"], 0.0)
    assert [e["snapshot"]["name_label"] for e in later["events"]] == ["changed"]
