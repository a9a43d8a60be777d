"""The records of a host's interfaces at the first start, and after a reset."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.network.network_server import NetworkServer
from xapi_py.api.internal import internal_call
from xapi_py.base.names import Ref
from xapi_py.db.row import Row
from xapi_py.start import network
from xcp_networkd import simulator_setup

CONFS = {
    "card": "LABEL=eth1\nMODE=static\nIP=192.0.2.9\nNETMASK=255.255.255.0\nGATEWAY=192.0.2.1\n",
    "vlan": "LABEL=eth1\nMODE=dhcp\nVLAN=25\n",
    "bond": "LABEL=eth1\nMODE=dhcp\nBOND_MODE=lacp\nBOND_MEMBERS=eth1,eth2\n",
    "vlan on a bond": (
        "LABEL=eth1\nMODE=dhcp\nBOND_MODE=active-backup\nBOND_MEMBERS=eth1,eth2\nVLAN=25\n"
    ),
    "ipv6": "LABEL=eth1\nMODE=none\nMODEV6=static\nIPv6=2001:db8::9/64\n",
}


class Started(NetworkServer):
    """A host with bonds and VLANs, started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, management_timeout_s=1.0)
        self.folder = folder
        self.bond("eth2", "eth3")
        self.vlan(self.pif("eth1"), 7)

    def start_with(self, conf: str) -> None:
        """Start the daemon with a reset in its way, then the server's network."""
        (self.folder / "network-reset").write_text(conf)
        built: list[Any] = []
        building = simulator_setup.build(self.described, self.folder, self.clock)
        Deferred.fromCoroutine(building).addBoth(built.append)
        self.networkd.methods = built[0]
        call = internal_call(self.toolstack, "start")
        daemon = self.toolstack.hosts.get(self.this_host).networkd
        ended: list[Any] = []
        work = network.bring_up(call, self.this_host, daemon)
        Deferred.fromCoroutine(work).addBoth(ended.append)
        while not ended:
            self.clock.advance(0.25)
        assert ended == [None]

    def management(self) -> Row:
        (found,) = (row for row in self.db.rows("PIF") if row.management)
        return found


@pytest.fixture
def server(tmp_path: Path) -> Started:
    return Started(tmp_path)


@pytest.mark.parametrize("conf", CONFS.values(), ids=CONFS.keys())
def test_reset_makes_all_records_of_the_host_anew(server: Started, conf: str) -> None:
    old = set(server.db.refs("PIF"))
    networks = set(server.db.refs("network"))
    server.start_with(conf)
    pifs = server.db.rows("PIF")
    assert not old & {row.ref for row in pifs}
    assert networks <= set(server.db.refs("network"))
    assert {row.device for row in pifs if row.physical} == {"eth0", "eth1", "eth2", "eth3"}
    assert not (server.folder / "network-reset").exists()
    management = server.management()
    link = server.links()[server.db.row("network", Ref(management.network)).bridge]
    assert management.currently_attached and (link["ipv4"] or link["ipv6"])
    assert server.db.count("PIF_metrics") == sum(row.VLAN == -1 for row in pifs)


def test_static_management_on_a_card(server: Started) -> None:
    server.start_with(CONFS["card"])
    row = server.management()
    assert (row.device, row.IP, row.netmask, row.gateway) == (
        *("eth1", "192.0.2.9"),
        *("255.255.255.0", "192.0.2.1"),
    )
    assert (server.db.count("Bond"), server.db.count("VLAN")) == (0, 0)


def test_management_on_a_vlan_of_a_bond(server: Started) -> None:
    server.start_with(CONFS["vlan on a bond"])
    row = server.management()
    assert (row.device, row.VLAN, row.ip_configuration_mode) == ("bond0", 25, "DHCP")
    (bond,) = server.db.rows("Bond")
    assert (bond.mode, len(bond.slaves)) == ("active-backup", 2)
    assert "xentemp" not in server.links()
    bridge = server.db.row("network", Ref(row.network)).bridge
    assert server.links()[bridge]["ipv4"] == [[row.IP, 16]]


def test_management_over_ipv6_alone(server: Started) -> None:
    server.start_with(CONFS["ipv6"])
    row = server.management()
    assert (row.primary_address_type, tuple(row.IPv6)) == ("IPv6", ("2001:db8::9/64",))
    assert row.ip_configuration_mode == "None"
