"""An API server with the real domain daemon on a simulated host, all in one process.

Storage is a stand-in: VDI messages that make and remove records at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from tests.unit.api.server import Refused, Server
from xapi_py.api import derived, recovery, registry
from xapi_py.api.call import Call
from xapi_py.api.registry import Registration
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref, new_uuid
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcUnreachable
from xapi_py.base.rpc.server import CallContext
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.simulator_config import HostConfig
from xapi_py.pool.gateway import Daemon, HostGateway
from xapi_py.pool.metadata_push import MetadataPush
from xapi_py.pool.xenops_updates import XenopsUpdates
from xenops.backends.simulator.backend import SimulatorBackend
from xenops.backends.simulator.config import SimulatorSettings, XenopsSection
from xenops.effects import Surroundings, Timeouts
from xenops.executor import Executor
from xenops.hooks import ScriptHooks
from xenops.methods import all_methods
from xenops.operations import Operations
from xenops.queues import Slots
from xenops.storage import NoStorage
from xenops.vms import VmTable
from xenops.watch import Watch

__all__ = ["Pool", "Refused", "storage"]


class InProcess:
    """Calls a daemon's methods with what JSON would make of parameters and results."""

    def __init__(self, methods: Any) -> None:
        self.methods = methods
        self.reachable = True
        self.calls: list[str] = []

    async def call(
        self,
        method: str,
        params: dict[str, object] | None = None,
        *,
        dbg: str = "",
        deadline_s: float = 60.0,
    ) -> object:
        if not self.reachable:
            raise RpcUnreachable("not there")
        if method != "UPDATES.get":
            self.calls.append(method)
        given = orjson.loads(orjson.dumps(params or {}))
        result = self.methods[method](CallContext(method, dbg, deadline_s), **given)
        if hasattr(result, "__await__"):
            result = await ensureDeferred(result)
        return orjson.loads(orjson.dumps(result, default=dict))


class Bridges:
    """A network daemon that only knows which bridges there are."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def methods(self) -> dict[str, Any]:
        return {
            "Bridge.get_all": lambda context: self.names,
            "Network.change": lambda context, bridge_config: self.names.extend(bridge_config),
            "Bridge.destroy": lambda context, name: self.names.remove(name),
        }


class Host:
    """The domain daemon of one simulated host; ``again`` is the daemon restarted."""

    def __init__(
        self, clock: Clock, folder: Path, section: XenopsSection, memory_mib: int, epoch: str = "1"
    ) -> None:
        self.clock, self.folder = clock, folder
        self.settings = SimulatorSettings(HostConfig(memory_mib=memory_mib), section)
        self.epoch = int(epoch)
        self.caller = InProcess({})
        self.begin()

    def begin(self) -> None:
        self.backend = SimulatorBackend(self.clock, self.folder / "hypervisor", self.settings)
        self.feed = UpdateFeed(self.clock, str(self.epoch), first=self.epoch * 1000)
        hooks = ScriptHooks(None, None)
        around = Surroundings(self.backend, NoStorage(), hooks, self.clock, Timeouts())
        vms = VmTable(self.folder / "vms.journal")
        self.operations = Operations(vms, around, Executor(self.clock, Slots(4)), self.feed)
        watch = Watch(self.operations, around, self.feed)
        self.backend.listen(watch.changed)
        watch.recover()
        self.caller.methods = all_methods(self.operations, self.backend, self.feed)
        self.epoch += 1


class Pool(Server):
    """A server whose host runs VMs.  ``session`` is root's."""

    def __init__(
        self,
        folder: Path,
        profile: str = "newest",
        *,
        section: XenopsSection | None = None,
        memory_mib: int = 16384,
    ) -> None:
        super().__init__(folder, profile)
        self.host_ref = self.toolstack.localhost
        self.host = Host(self.clock, folder / "xenops", section or XenopsSection(), memory_mib)
        daemon = Daemon(self.host.caller)
        nobody, bridges = Daemon(InProcess({})), Daemon(InProcess(Bridges().methods()))
        self.toolstack.hosts.add(HostGateway(self.host_ref, daemon, nobody, bridges))
        derived.declare(self.db, self.toolstack.model)
        recovery.clear_marks(self.toolstack)
        MetadataPush(self.db, self.toolstack.hosts)
        with self.db.transaction() as tx:
            tx.set("host", self.host_ref, "enabled", True)
        self.updates = self.follow()
        self.session = self.login()

    def follow(self) -> XenopsUpdates:
        gateway = self.toolstack.hosts.get(self.host_ref)
        updates = recovery.follow_domains(self.toolstack, gateway)
        self.settle()
        return updates

    def restart_daemon(self) -> None:
        """Kill the domain daemon and start it on the same domains."""
        self.host.begin()
        self.host.caller.reachable = True
        self.run_for(3)

    def settle(self) -> None:
        for _ in range(60):
            self.clock.advance(0)

    def run_for(self, seconds: float) -> None:
        """Let time pass in small steps."""
        steps = max(1, int(seconds * 10))
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            self.settle()

    def do(self, method: str, *params: Any) -> Any:
        """Call a message as root and give its value; time passes as it needs."""
        answer = self.send(method, self.session, *params)
        if isinstance(answer, Deferred):
            results: list[Any] = []
            answer.addBoth(results.append)
            for _ in range(400):
                if results:
                    break
                self.run_for(0.1)
            assert results, f"{method} does not end"
            if isinstance(results[0], Failure):
                results[0].raiseException()
            answer = results[0]
        return self.value_of(answer)

    def refusal(self, method: str, *params: Any) -> list[str]:
        """Give the error of a call that must fail."""
        try:
            value = self.do(method, *params)
        except Refused as refused:
            return list(refused.args)
        raise AssertionError(f"{method} answered {value!r}")

    def vm(self, **fields: Any) -> str:
        """Make a halted HVM guest."""
        return str(self.do("VM.create", vm_record(**fields)))

    def running(self, **fields: Any) -> str:
        """Make a VM that runs and whose agent has reported."""
        vm = self.vm(**fields)
        self.do("VM.start", vm, False, False)
        self.run_for(2)
        return vm

    def do_guest(self, vm: str, action: str) -> None:
        """Let the guest do something by itself."""
        daemon = self.toolstack.hosts.get(self.host_ref).xenops
        params = {"id": self.row(vm).uuid, "action": action}
        ensureDeferred(daemon.call("VM.run_guest", params))
        self.run_for(20)

    def row(self, vm: str) -> Any:
        return self.db.row("VM", vm)

    def sr(self, shared: bool = True) -> str:
        """Make an SR that is plugged on the host and is the pool's default."""
        with self.db.transaction() as tx:
            sr = tx.create("SR", {"name_label": "disks", "type": "lvm", "shared": shared})
            tx.create("PBD", {"SR": sr, "host": self.host_ref, "currently_attached": True})
            tx.set("pool", self.toolstack.pool, "default_SR", sr)
        return sr

    def disk(self, vm: str, sr: str, device: str = "0", **vdi: Any) -> tuple[str, str]:
        """Give a VM a disk; answers (VBD, VDI)."""
        with self.db.transaction() as tx:
            ref = make_vdi(tx, {"SR": sr, "name_label": f"disk {device}", **vdi})
        record = vbd_record(VM=vm, VDI=ref, userdevice=device, type="Disk", mode="RW", empty=False)
        return str(self.do("VBD.create", record)), ref


def vm_record(**fields: Any) -> dict[str, Any]:
    return {
        "name_label": "vm", "name_description": "", "user_version": "1", "is_a_template": False,
        "affinity": NULL_REF, "memory_target": "0", "memory_static_max": str(512 << 20),
        "memory_dynamic_max": str(512 << 20), "memory_dynamic_min": str(512 << 20),
        "memory_static_min": str(128 << 20), "VCPUs_params": {}, "VCPUs_max": "2",
        "VCPUs_at_startup": "1", "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart", "actions_after_crash": "restart",
        "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
        "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order",
        "HVM_boot_params": {"order": "dc"}, "platform": {"acpi": "1"}, "PCI_bus": "",
        "other_config": {}, "recommendations": "", "generation_id": "",
        "hardware_platform_version": "0", "has_vendor_device": False, **fields,
    }  # fmt: skip


def vbd_record(**fields: Any) -> dict[str, Any]:
    return {
        "VDI": NULL_REF, "userdevice": "3", "bootable": False, "mode": "RO", "type": "CD",
        "unpluggable": True, "empty": True, "other_config": {}, "qos_algorithm_type": "",
        "qos_algorithm_params": {}, **fields,
    }  # fmt: skip


def vif_record(**fields: Any) -> dict[str, Any]:
    return {
        "device": "0", "MAC": "", "MTU": "1500", "other_config": {}, "qos_algorithm_type": "",
        "qos_algorithm_params": {}, **fields,
    }  # fmt: skip


def make_vdi(tx: Any, fields: dict[str, Any]) -> Ref:
    uuid = new_uuid()
    defaults = {"uuid": uuid, "location": uuid, "managed": True, "virtual_size": 1 << 30}
    ref: Ref = tx.create("VDI", {**defaults, "type": "user", **fields})
    return ref


class Storage:
    """VDI messages over bare records; ``fail`` names the next one to be refused."""

    def __init__(self) -> None:
        self.fail = ""

    def _check(self, name: str) -> None:
        if self.fail == name:
            self.fail = ""
            raise ApiError("SR_BACKEND_FAILURE_44", "", "no space", "")

    async def create(self, call: Call, record: dict[str, Any]) -> Ref:
        self._check("create")
        with call.db.transaction() as tx:
            return make_vdi(tx, record)

    async def derive(self, call: Call, vdi: Ref, *rest: Any, **extra: Any) -> Ref:
        self._check("derive")
        row = call.db.row("VDI", vdi)
        with call.db.transaction() as tx:
            fields = {"SR": row.SR, "name_label": row.name_label, "type": row.type}
            return make_vdi(tx, {**fields, **extra})

    async def snapshot(self, call: Call, vdi: Ref, params: Any) -> Ref:
        return await self.derive(call, vdi, is_a_snapshot=True, snapshot_of=vdi)

    async def destroy(self, call: Call, vdi: Ref) -> None:
        self._check("destroy")
        with call.db.transaction() as tx:
            tx.delete("VDI", vdi)


@contextmanager
def storage() -> Iterator[Storage]:
    """Put the stand-in in place of the VDI messages."""
    stand_in = Storage()
    registry.load_all()
    fresh = {
        "VDI.create": stand_in.create,
        "VDI.clone": stand_in.derive,
        "VDI.copy": stand_in.derive,
        "VDI.snapshot": stand_in.snapshot,
        "VDI.destroy": stand_in.destroy,
    }
    before = {name: registry.HANDLERS.get(name) for name in fresh}
    registry.HANDLERS.update({n: Registration(f, None) for n, f in fresh.items()})
    try:
        yield stand_in
    finally:
        for name, old in before.items():
            if old is None:
                del registry.HANDLERS[name]
            else:
                registry.HANDLERS[name] = old
