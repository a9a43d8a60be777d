"""Metrics of a real pool: what graphs ask for, and that they survive a restart."""

import json
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET

import pytest
import XenAPI

from tests.integration.running_pool import Endpoint, eventually, running
from tests.unit.api.vm.pool import vm_record

pytestmark = pytest.mark.integration


def get(endpoint: Endpoint, session: XenAPI.Session, path: str, **query: str) -> bytes:
    query["session_id"] = session.handle
    with urllib.request.urlopen(
        f"{endpoint.http_url}{path}?{urllib.parse.urlencode(query)}", timeout=30
    ) as answer:
        return bytes(answer.read())


def rows_of(endpoint: Endpoint, session: XenAPI.Session, uuid: str) -> int:
    query = {"start": "-600", "vm_uuid": uuid, "cf": "AVERAGE", "interval": "5"}
    return len(ET.fromstring(get(endpoint, session, "/rrd_updates", **query)).findall("data/row"))


def test_running_guests_have_graphs_that_survive_a_restart() -> None:
    with running("--profile", "newest") as pool:
        endpoint = pool.start().host()
        with endpoint.session() as session:
            api = session.xenapi
            vm = api.VM.create(vm_record())
            api.VM.start(vm, False, False)
            uuid = api.VM.get_uuid(vm)
            eventually(lambda: rows_of(endpoint, session, uuid) >= 3, "three samples", 60)
            sources = {s["name_label"]: s for s in api.VM.get_data_sources(vm)}
            assert {"cpu0", "memory"} <= set(sources) and sources["cpu0"]["enabled"]
            assert 0 <= api.VM.query_data_source(vm, "cpu0") <= 1
            (host,) = api.host.get_all()
            assert api.host.query_data_source(host, "memory_total_kib") > 0
            with pytest.raises(XenAPI.Failure, match="INVALID_VALUE"):
                api.host.query_data_source(host, "nothing")
            query = {"start": "-60", "host": "true", "json": "true"}
            meta = json.loads(get(endpoint, session, "/rrd_updates", **query))["meta"]
            owners = {entry.split(":")[1] for entry in meta["legend"]}
            assert owners == {"vm", "host"} and meta["step"] == 5
            whole = ET.fromstring(get(endpoint, session, "/vm_rrd", uuid=uuid))
            assert [len(rra.findall("database/row")) for rra in whole.findall("rra")] == [
                *(120, 120, 168, 366)
            ]
            with pytest.raises(urllib.error.HTTPError):
                get(endpoint, session, "/rrd_updates", start="rubbish")
            api.VM.hard_shutdown(vm)
        endpoint = pool.restart().host()
        with endpoint.session() as session:
            assert rows_of(endpoint, session, uuid) >= 3
