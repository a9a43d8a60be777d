"""Between the kernel and what clients read, in one process: lost links, virtual functions.

The API server is in memory; network daemon, cables, bonds and the daemon's monitor are real.
Where starting a whole server takes minutes, such as in an emulated machine, this shows the
same as ``test_network_pool``.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.system.inside_daemon import assemble
from tests.system.network_lab import ADDRESS, GATEWAY, NetworkLab, lab
from tests.system.real_backends import able_card
from tests.unit.api.services import Services
from xapi_py.base.config import build
from xapi_py.start import network
from xcp_networkd.config import SystemConfig
from xcp_networkd.monitor import Monitor

pytestmark = pytest.mark.system

TOLD_WITHIN_S = float(os.environ.get("XAPI_PY_TOLD_WITHIN_S", "2"))
"""When clients must know; an emulated machine gets more."""
INSTALLED = f"LABEL=eth0\nMODE=static\nIP={ADDRESS}\nNETMASK=255.255.255.0\nGATEWAY={GATEWAY}\n"


class WatchingServer(Services):
    """A server whose network daemon works on the namespace that the thread is in."""

    def __init__(self, host: NetworkLab) -> None:
        self._lab = host
        super().__init__(host.folder, started=False, backend=host.system)
        self.network_updates = self.wait(network.prepare(self.toolstack))

    def begin_networkd(self) -> None:
        state = self.folder / "networkd"
        state.mkdir()
        config = build(dict(self._lab.network), SystemConfig, "network")
        self.parts = self.wait(assemble(self._lab.system, config, state, self.clock))
        self.networkd.methods = self.parts.methods
        reactor = SimpleNamespace(
            addReader=lambda reader: None,
            removeReader=lambda reader: None,
            callLater=self.clock.callLater,
            seconds=self.clock.seconds,
        )
        self.monitor = Monitor(self.parts.backend, self.parts.desired, self.parts.feed, reactor)
        self.wait(self.monitor.start())

    def seconds_until(self, condition: Callable[[], bool], timeout_s: float = 40.0) -> float:
        """Let real time pass until something is so; gives how long that took."""
        begin = last = time.monotonic()
        while not condition():
            readable, _, _ = select.select([self.monitor], [], [], 0.02)
            if readable:
                self.monitor.doRead()
            now = time.monotonic()
            assert now - begin < timeout_s, "it does not come about"
            self.clock.advance(now - last)
            last = now
        return time.monotonic() - begin

    def metrics(self, pif: str) -> dict[str, Any]:
        """Give the metrics of a PIF as clients read them."""
        found: dict[str, Any] = self.do("PIF_metrics.get_record", self.do("PIF.get_metrics", pif))
        return found

    def alerts(self) -> dict[str, dict[str, Any]]:
        """Give the messages of changed bonds, by their texts."""
        records = self.do("message.get_all_records").values()
        return {m["body"]: m for m in records if m["name"] == "BOND_STATUS_CHANGED"}

    def close(self) -> None:
        self.monitor.stop()
        self.parts.backend.close()


@pytest.fixture(params=["bridge", "openvswitch"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkLab]:
    with lab(request.param, tmp_path) as made:
        made.connect_outside("port0", "port1", "port2")
        (tmp_path / "management.conf").write_text(INSTALLED)
        yield made


@pytest.fixture
def server(host: NetworkLab) -> Iterator[WatchingServer]:
    with host.host.entered(), contextlib.closing(WatchingServer(host)) as made:
        yield made


def test_pulled_cable_shows_in_the_metrics_in_time(
    host: NetworkLab, server: WatchingServer
) -> None:
    pif = server.pif("eth3")
    for state, carrier in (("down", False), ("up", True)):
        host.outside.ip("link", "set", "port3", state)
        took_s = server.seconds_until(lambda c=carrier: server.metrics(pif)["carrier"] is c)
        print(f"{host.system}: carrier {state} told after {took_s * 1000:.0f} ms")
        assert took_s < TOLD_WITHIN_S


def test_bond_that_loses_its_links_raises_alerts(host: NetworkLab, server: WatchingServer) -> None:
    host.needs("bond")
    members = [server.pif("eth1"), server.pif("eth2")]
    made = server.do("Bond.create", server.network(), members, "", "active-backup", {})
    master = server.do("Bond.get_master", made)
    server.do("PIF.add_to_other_config", master, "bond-updelay", "0")
    server.do("PIF.plug", master)

    def up() -> str:
        return str(server.do("Bond.get_links_up", made))

    server.seconds_until(lambda: up() == "2")
    before = set(server.alerts())
    words = {"down port1": "1", "down port2": "0", "up port1": "1"}
    for (change, links), old in zip(words.items(), "210", strict=True):
        state, port = change.split()
        host.outside.ip("link", "set", port, state)
        took_s = server.seconds_until(lambda n=links: up() == n)
        print(f"{host.system}: {links} of the bond's links told after {took_s * 1000:.0f} ms")
        assert took_s < TOLD_WITHIN_S
        assert server.metrics(master)["carrier"] is (links != "0")
        body = f"The status of the eth1+eth2 bond changed: {links}/2 up (was {old}/2)"
        alert = server.alerts()[body]
        assert (alert["cls"], alert["priority"]) == ("Host", "3")
        assert alert["obj_uuid"] == server.do("host.get_uuid", server.here)
    assert len(set(server.alerts()) - before) == 3
    assert not server.metrics(members[1])["carrier"]


def test_network_of_virtual_functions_has_the_card_show_them(host: NetworkLab) -> None:
    """The card's files are made up: no kernel that tests run on has such a card."""
    shown = able_card(host.folder, "eth1", 8)
    with host.host.entered(), contextlib.closing(WatchingServer(host)) as server:
        pif = server.pif("eth1")
        assert server.do("PIF.get_capabilities", pif) == ["sriov"]
        made = server.do("network_sriov.create", pif, server.network())
        assert shown.read_text() == "8"
        assert server.do("network_sriov.get_configuration_mode", made) == "sysfs"
        server.do("PIF.plug", server.pif("eth2"))
        assert shown.read_text() == "8"
        server.do("network_sriov.destroy", made)
        assert shown.read_text() == "0"
        shown.unlink()
        shown.mkdir()
        refused = server.refusal("network_sriov.create", pif, server.network("other"))
        assert refused[:2] == ["NETWORK_SRIOV_ENABLE_FAILED", pif]
        assert "eth1: 8 virtual functions: Is a directory" in refused[2]
