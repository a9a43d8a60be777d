"""A whole API server in memory with the real storage and network daemons of one host."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred

from sm import setup as sm_setup
from sm.config import ArrayConfig, DiskConfig, SmConfig, StorageConfig
from tests.unit.api.server import Refused, Server
from tests.unit.api.vm.pool import InProcess
from xapi_py.api import derived
from xapi_py.base.simulator_config import NicConfig, SimulatorConfig
from xapi_py.pool.gateway import Daemon, HostGateway
from xapi_py.start import network, storage
from xcp_networkd import simulator_setup as network_setup
from xcp_networkd.config import HostNetwork, NetworkConfig

GIB = 1 << 30
NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"
NULL = "OpaqueRef:NULL"
NFS = {"server": "192.0.2.20", "serverpath": "/export/vms"}
ISCSI = {"target": "192.0.2.10", "port": "3260"}
CHAP = {
    "targetIQN": "iqn.2026-01.org.example:storage.chap",
    "chapuser": "alice",
    "chappassword": "secretsecret12",
}
DISKS = (
    DiskConfig("/dev/sda", root=True),
    *(DiskConfig(f"/dev/sd{letter}") for letter in ("a3", "b", "c")),
)


class Services(Server):
    """A server with storage and network; ``session`` is root's, ``here`` the host.

    ``started``: as after a start of the server, with the first storage and PIFs.
    """

    def __init__(
        self, folder: Path, profile: str = "newest", *, started: bool = True, backend: str = ""
    ) -> None:
        super().__init__(folder, profile)
        self.folder = folder
        self.here = self.toolstack.localhost
        self.backend = backend or "openvswitch"
        self.smd, self.networkd = InProcess({}), InProcess({})
        self.begin_smd()
        self.begin_networkd()
        gateway = HostGateway(
            self.here, Daemon(InProcess({})), Daemon(self.smd), Daemon(self.networkd)
        )
        self.toolstack.hosts.add(gateway)
        derived.declare(self.db, self.toolstack.model)
        self.session = self.login()
        if started:
            self.network_updates = self.wait(network.prepare(self.toolstack))
            self.storage_updates = self.wait(storage.prepare(self.toolstack))
            self.wait(storage.bring_up(self.toolstack))

    def begin_smd(self) -> None:
        """Start the storage daemon, or start it again on what it kept."""
        settings = StorageConfig(
            SmConfig(self.toolstack.model.profile, "host-1"),  # type: ignore[arg-type]
            ArrayConfig(folder=str(self.folder / "array"), disks=DISKS),
        )
        state = self.folder / "smd"
        state.mkdir(exist_ok=True)
        build = sm_setup.build(settings, state, self.clock, lambda work: maybeDeferred(work))
        self.smd.methods = self.wait(build)

    def begin_networkd(self) -> None:
        """Start the network daemon, or start it again on what it kept."""
        nics: tuple[NicConfig, ...] = SimulatorConfig().host(1).nics
        config = NetworkConfig(backend=self.backend)  # type: ignore[arg-type]
        state = self.folder / "networkd"
        state.mkdir(exist_ok=True)
        build = network_setup.build(HostNetwork(1, nics, config), state, self.clock)
        self.networkd.methods = self.wait(build)

    def settle(self) -> None:
        for _ in range(40):
            self.clock.advance(0)

    def wait(self, work: Any) -> Any:
        """Let time pass until something has ended, and give its result."""
        found: list[Any] = []
        deferred = work if isinstance(work, Deferred) else ensureDeferred(work)
        deferred.addBoth(found.append)
        for _ in range(1000):
            if found:
                break
            self.clock.advance(0.05)
        assert found, "it does not end"
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    def do(self, method: str, *params: Any) -> Any:
        """Call a message as root and give its value."""
        answer = self.send(method, self.session, *params)
        if isinstance(answer, Deferred):
            answer = self.wait(answer)
        return self.value_of(answer)

    def refusal(self, method: str, *params: Any) -> list[str]:
        """Give the error of a call that must fail."""
        try:
            value = self.do(method, *params)
        except Refused as refused:
            return list(refused.args)
        raise AssertionError(f"{method} answered {value!r}")

    def daemon(self, method: str, /, **params: object) -> Any:
        """Call a method of the storage or network daemon as another program would."""
        owner = self.smd if method in self.smd.methods else self.networkd
        return self.wait(owner.call(method, dict(params)))

    def create_sr(
        self, sr_type: str, config: dict[str, str], *, shared: bool = False, label: str = "sr"
    ) -> str:
        return str(
            self.do("SR.create", self.here, config, "0", label, "", sr_type, "user", shared, {})
        )

    def vdi(self, sr: str, size: int = GIB, **fields: Any) -> str:
        return str(self.do("VDI.create", vdi_record(SR=sr, virtual_size=str(size), **fields)))

    def network(self, label: str = "net", **fields: Any) -> str:
        return str(self.do("network.create", {"name_label": label, "other_config": {}, **fields}))

    def pif(self, device: str, vlan: int = -1) -> str:
        """Find a PIF of the host."""
        return next(p.ref for p in self.db.rows("PIF") if (p.device, p.VLAN) == (device, vlan))

    def sr(self, label: str) -> str:
        (ref,) = self.db.by_name_label("SR", label)
        return ref

    def bridges(self) -> dict[str, Any]:
        """Bridges as the network daemon has them."""
        document = self.daemon("Network.get")["result"]
        found: dict[str, Any] = document["bridge_config"]
        return found


def vdi_record(**fields: Any) -> dict[str, Any]:
    return {
        "name_label": "disk", "name_description": "", "type": "user", "sharable": False,
        "read_only": False, "other_config": {}, **fields,
    }  # fmt: skip
