"""An API server with the real network daemon on a simulated host, all in one process."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from tests.unit.api.server import Server
from tests.unit.api.vm.pool import InProcess
from xapi_py.api.network import new_bridge_name
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.simulator_config import HostConfig, NicConfig, SimulatorConfig
from xapi_py.pool.gateway import Daemon, HostGateway
from xcp_networkd import simulator_setup
from xcp_networkd.config import HostNetwork, NetworkConfig


class UpToDate(Daemon):
    """A daemon whose updates nobody needs to wait for."""

    async def _wait_for(self, cursor: int) -> None:
        return None


class NetworkServer(Server):
    """NICs eth0 (management) to eth3, with PIFs; call messages with a session of root."""

    def __init__(
        self, folder: Path, *, nics: int | tuple[NicConfig, ...] = 4, **network: Any
    ) -> None:
        super().__init__(folder)
        cards = (NicConfig(),) * nics if isinstance(nics, int) else nics
        cards = SimulatorConfig(hosts=(HostConfig(nics=cards),)).host(1).nics
        self.described = HostNetwork(1, cards, NetworkConfig(**network))
        found: list[Any] = []
        building = simulator_setup.build(self.described, folder, self.clock)
        Deferred.fromCoroutine(building).addBoth(found.append)
        self.networkd = InProcess(found[0])
        nowhere = Daemon(InProcess({}))
        gateway = HostGateway(self.this_host, nowhere, nowhere, UpToDate(self.networkd))
        self.toolstack.hosts.add(gateway)
        self.put("host", self.this_host, software_version={"network_backend": "openvswitch"})
        self.session = self.login()
        self.do("PIF.scan", self.this_host)
        self.put("PIF", self.pif("eth0"), management=True, ip_configuration_mode="DHCP")
        for card in cards:
            self.put("PIF", self.pif(card.device), currently_attached=True)
        # One call brings all up that are marked so.
        self.do("PIF.plug", self.pif("eth0"))

    def do(self, method: str, *params: Any) -> Any:
        """Call a message and wait for its answer."""
        return self.value_of(self._finished(self.send(method, self.session, *params)))

    def error(self, method: str, *params: Any) -> list[str]:
        """Give the ErrorDescription of a call that must be refused."""
        return self.refusal(method, self.session, *params)

    def call(self, method: str, *params: Any, **more: Any) -> Any:
        return self.value_of(self._finished(self.send(method, *params, **more)))

    def _finished(self, answer: Any) -> Any:
        for _ in range(1000):
            if isinstance(answer, list) or getattr(answer, "called", True):
                return answer
            self.clock.advance(0.25)
        raise AssertionError("no answer")

    def pif(self, device: str) -> Ref:
        """Give the PIF of a NIC."""
        rows = self.db.rows("PIF")
        return next(Ref(r.ref) for r in rows if r.device == device and r.VLAN == -1)

    def network_of(self, pif: Ref) -> Ref:
        return Ref(self.db.row("PIF", pif).network)

    def network(self, **fields: Any) -> Ref:
        """Make a network without PIFs."""
        fields = {"MTU": 1500, "managed": True, "bridge": new_bridge_name(self.db), **fields}
        return self.make("network", **fields)

    def vlan(self, pif: Ref, tag: int) -> Ref:
        """Make a VLAN and give its PIF."""
        vlan = self.do("VLAN.create", pif, str(tag), self.network())
        return Ref(self.db.row("VLAN", vlan).untagged_PIF)

    def bond(self, *devices: str, mode: str = "active-backup") -> Ref:
        members = [self.pif(device) for device in devices]
        return Ref(self.do("Bond.create", self.network(), members, "", mode, {}))

    def tunnel(self, pif: Ref) -> Ref:
        """Make a tunnel and give its access PIF."""
        tunnel = self.do("tunnel.create", pif, self.network())
        return Ref(self.db.row("tunnel", tunnel).access_PIF)

    def sriov(self, pif: Ref) -> Ref:
        """Make a logical PIF of virtual functions as a record only."""
        logical = self.make(
            "PIF",
            device="eth3",
            network=self.network(),
            host=self.this_host,
            VLAN=-1,
            physical=False,
            managed=True,
            VLAN_master_of=NULL_REF,
            bond_slave_of=NULL_REF,
        )
        self.make("network_sriov", physical_PIF=pif, logical_PIF=logical)
        return logical

    def vif(self, network: Ref, *, attached: bool = True) -> Ref:
        """Give a halted or running VM's interface on a network."""
        vm = self.make(
            "VM",
            name_label="guest",
            power_state="Running" if attached else "Halted",
            resident_on=self.this_host if attached else NULL_REF,
        )
        fields = {"network": network, "VM": vm, "device": "0", "MAC": "02:00:00:00:00:01"}
        return self.make("VIF", **fields, currently_attached=attached)

    def links(self) -> dict[str, Any]:
        """What the daemon sees, by device."""
        found: list[Any] = []
        Deferred.fromCoroutine(self.networkd.call("Interface.scan")).addBoth(found.append)
        return {link["name"]: link for link in found[0]["result"]}

    def leases(self, bridge: str) -> dict[str, str]:
        """What the host's DHCP server gives on a bridge, by MAC."""
        found: list[Any] = []
        asking = self.networkd.call("Dhcp.get_leases", {"bridge": bridge})
        Deferred.fromCoroutine(asking).addBoth(found.append)
        return dict(found[0]["result"])

    def debug(self, method: str, **params: Any) -> None:
        Deferred.fromCoroutine(self.networkd.call(method, params))
