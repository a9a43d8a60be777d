"""Which interface a host is managed over."""

from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from tests.unit.api.network.test_refusals import with_ip


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    return NetworkServer(tmp_path, management_timeout_s=1.0)


def managed(server: NetworkServer) -> list[str]:
    return [row.device for row in server.db.rows("PIF") if row.management]


def test_management_moves_with_route_and_address(server: NetworkServer) -> None:
    pif = with_ip(server, "eth1")
    server.do("PIF.unplug", pif)
    server.do("host.management_reconfigure", pif)
    assert managed(server) == ["eth1"]
    assert server.db.row("PIF", pif).currently_attached
    assert server.db.row("host", server.this_host).address == "192.0.2.1"


def test_host_goes_back_when_it_is_cut_off(server: NetworkServer) -> None:
    pif = with_ip(server, "eth1")
    address = server.db.row("host", server.this_host).address
    before = server.links()
    server.debug("DEBUG.set_carrier", device="eth1", carrier=False)
    refused = server.error("host.management_reconfigure", pif)
    assert refused[:2] == ["PIF_CONFIGURATION_ERROR", pif]
    assert "out of reach" in refused[2]
    assert managed(server) == ["eth0"]
    assert server.db.row("host", server.this_host).address == address
    server.debug("DEBUG.set_carrier", device="eth1", carrier=True)
    assert server.links() == before


def test_pool_moves_together(server: NetworkServer) -> None:
    pif = with_ip(server, "eth1")
    server.do("pool.management_reconfigure", server.network_of(pif))
    assert managed(server) == ["eth1"]
    lonely = server.network()
    refused = server.error("pool.management_reconfigure", lonely)
    assert refused == ["PIF_NOT_PRESENT", server.this_host, lonely]


def test_management_stays_on_its_own_interface_without_a_change(server: NetworkServer) -> None:
    before = server.links()
    server.do("host.management_reconfigure", server.pif("eth0"))
    assert (managed(server), server.links()) == (["eth0"], before)
