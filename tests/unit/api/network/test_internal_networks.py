"""Networks without a card: private ones, and the one between a host and its guests."""

from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from xapi_py.base.names import Ref


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    return NetworkServer(tmp_path)


def internal(server: NetworkServer) -> Ref:
    rows = server.db.rows("network")
    return next(Ref(r.ref) for r in rows if r.bridge == "xenapi")


def test_host_has_the_first_address_of_its_internal_network(server: NetworkServer) -> None:
    server.do("network.attach", internal(server), server.this_host)
    assert server.links()["xenapi"]["ipv4"] == [["169.254.0.1", 16]]


def test_internal_networks_outlast_other_changes(server: NetworkServer) -> None:
    server.do("network.attach", internal(server), server.this_host)
    private = server.network()
    server.do("network.attach", private, server.this_host)
    before = server.links()
    server.do("PIF.plug", server.pif("eth1"))
    server.do("PIF.unplug", server.pif("eth1"))
    after = server.links()
    for bridge in ("xenapi", server.db.row("network", private).bridge):
        assert after[bridge] == before[bridge]
