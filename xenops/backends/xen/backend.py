"""The backend contract on Xen: each effect goes to the part that carries it out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xenops import errors
from xenops.backends.contract import (
    Change,
    Console,
    CreateRequest,
    DomainInfo,
    DomainStat,
    GuestAction,
    GuestRequest,
    HostStat,
    Listener,
    Migration,
    ReceiveSteps,
    SavedMemory,
    SendSteps,
    ShutdownReason,
)
from xenops.backends.xen.control import Control
from xenops.backends.xen.devices_of_backend import DeviceEffects
from xenops.backends.xen.host_facts import HostFacts
from xenops.backends.xen.services import Services
from xenops.bindings.errors import XenError
from xenops.metadata import VmConfig, VmMetadata
from xenops.xenstore.client import Transaction

log = logging.getLogger(__name__)

_GUEST_ACTIONS: Mapping[GuestAction, int] = {
    "poweroff": 0,
    "reboot": 1,
    "suspend": 2,
    "crash": 3,
    "watchdog": 4,
}


class XenBackend(DeviceEffects):
    """Domains on this host's Xen.  ``open`` comes before anything else."""

    name = "xen"
    reads_boot_disk = True

    def __init__(self, services: Services, facts: HostFacts, control: Control) -> None:
        super().__init__(services)
        self._host = services.host
        self._domains = services.domains
        self._memory = services.memory
        self._creation = services.creation
        self._build = services.build
        self._stat = services.stat
        self._facts = facts
        self._control = control

    async def open(self) -> None:
        """Find the domains there are, and what they have."""
        await self._domains.open()
        for part in self._parts.of_domains():
            self._domains.on_gone(part.forget)
        for domain in self._domains.all():
            if domain.ours:
                for part in self._parts.of_domains():
                    await part.recover(domain.domid)
        self._services.workers.warm_up()

    def listen(self, listener: Listener) -> None:
        self._host.listener = listener

    async def stop(self) -> None:
        self._host.listener = _nobody
        self._domains.close()
        self._services.workers.close()
        self._host.store.close()

    def flush(self) -> None:
        """All is in xenstore already."""

    def domains(self) -> Sequence[DomainInfo]:
        return self._stat.domains()

    def find(self, vm: str) -> DomainInfo | None:
        return self._stat.find(vm)

    def stat(self, domid: int) -> DomainStat:
        return self._stat.stat(domid)

    def host_stat(self) -> HostStat:
        return self._facts.stat()

    def host_metrics(self) -> Mapping[str, object]:
        return self._facts.metrics()

    def metrics(self) -> Mapping[str, Mapping[str, object]]:
        return self._facts.domain_metrics(self.vif_figures, self.vbd_figures)

    def console_data(self) -> str:
        return self._host.xc.console_ring()

    def send_debug_keys(self, keys: str) -> None:
        self._host.xc.send_debug_keys(keys)

    def set_guest_agent_features(self, features: Mapping[str, Mapping[str, object]]) -> None:
        for name, feature in features.items():
            top = f"/guest_agent_features/{name}"
            keys = {f"{top}/licensed": str(feature.get("licensed", "0"))}
            parameters = feature.get("parameters")
            if isinstance(parameters, Mapping):
                keys |= {f"{top}/parameters/{key}": str(v) for key, v in parameters.items()}
            Deferred.fromCoroutine(self._publish(top, keys)).addErrback(_not_published)

    async def _publish(self, top: str, keys: Mapping[str, str]) -> None:
        async def write(tx: Transaction) -> None:
            tx.remove(top)
            tx.mkdir(top)
            tx.set_permissions(top, ("r0",))  # what is below is made readable with it
            tx.write_many(keys)
            await tx.settled()

        await self._host.store.transaction(write)

    async def create(self, vm: VmMetadata, request: CreateRequest) -> int:
        return await self._creation.create(vm, request)

    async def build(self, domid: int, vm: VmConfig, boot_disk: str = "") -> None:
        await self._build.build(domid, vm, boot_disk)

    async def restore(
        self, domid: int, vm: VmConfig, path: str, inline: Mapping[str, object]
    ) -> None:
        await self._parts.images.restore(domid, vm, path, inline)

    async def save(self, domid: int, path: str) -> SavedMemory:
        return await self._parts.images.save(domid, path)

    async def send(
        self, domid: int, address: str, hello: Mapping[str, Any], steps: SendSteps
    ) -> Migration:
        return await self._parts.migrations.send(domid, address, hello, steps)

    async def receive(
        self, vm: VmConfig, token: str, steps: ReceiveSteps, listening: Callable[[str], None]
    ) -> Migration:
        return await self._parts.migrations.receive(vm, token, steps, listening)

    async def create_device_model(self, domid: int, vm: VmMetadata, *, restore: bool) -> None:
        if vm.vm.is_hvm:
            await self._parts.device_model.start(domid, vm, restore=restore)
        await self._parts.consoles.start(domid, vm)

    async def open_console(self, domid: int, protocol: Literal["rfb", "vt100"]) -> Console:
        return await self._parts.consoles.open(domid, protocol)

    async def destroy_device_model(self, domid: int) -> None:
        await self._parts.consoles.stop(domid)
        await self._parts.device_model.stop(domid)

    async def clear_action_request(self, domid: int) -> None:
        await self._control.clear_action_request(domid)

    async def pause(self, domid: int) -> None:
        await self._control.pause(domid)

    async def unpause(self, domid: int) -> None:
        if self._domains.get(domid).hvm:
            await self._parts.device_model.unpaused(domid)
        await self._control.unpause(domid)

    async def request_shutdown(
        self, domid: int, request: GuestRequest, ack_timeout_s: float
    ) -> bool:
        return await self._control.request_shutdown(domid, request, ack_timeout_s)

    async def wait_shutdown(self, domid: int, timeout_s: float) -> ShutdownReason | None:
        return await self._control.wait_shutdown(domid, timeout_s)

    async def resume_fast(self, domid: int) -> None:
        await self._control.resume_fast(domid)
        await self._parts.device_model.resumed(domid)

    async def destroy(self, domid: int) -> None:
        if self._domains.peek(domid) is None:
            return
        await self._parts.device_model.stop(domid)
        await self._parts.consoles.stop(domid)
        await self._parts.pcis.remove_all(domid)
        await self._parts.vbds.remove_all(domid)
        await self._parts.vifs.remove_all(domid)
        await self._creation.destroy(domid)

    async def set_vcpus(self, domid: int, count: int) -> None:
        if self._domains.get(domid).hvm:
            await self._parts.device_model.set_vcpus(domid, count)
        await self._control.set_vcpus(domid, count)

    async def set_memory_dynamic_range(self, domid: int, min_bytes: int, max_bytes: int) -> None:
        await self._memory.set_range(domid, min_bytes, max_bytes)

    async def set_shadow_multiplier(self, domid: int, multiplier: float) -> None:
        await self._control.set_shadow_multiplier(domid, multiplier)

    async def set_xsdata(self, domid: int, data: Mapping[str, str]) -> None:
        await self._control.set_xsdata(domid, data)

    async def s3_suspend(self, domid: int) -> None:
        await self._control.s3_suspend(domid)

    async def s3_resume(self, domid: int) -> None:
        await self._control.s3_resume(domid)

    async def run_guest(self, domid: int, action: GuestAction) -> None:
        """Stop the domain as its guest would; what it was doing is lost."""
        self._domains.get(domid)
        try:
            self._host.xc.shutdown(domid, _GUEST_ACTIONS[action])
        except XenError as error:
            raise errors.does_not_exist("domain", str(domid)) from error

    def inject_fault(self, fault: Mapping[str, object]) -> None:
        raise errors.unimplemented("faults on request")

    def clear_faults(self) -> None:
        """There are none."""

    def power_cycle(self) -> None:
        raise errors.unimplemented("losing all domains")


def _nobody(change: Change) -> None:
    """Nobody listens any more."""


def _not_published(failure: Failure) -> None:
    log.error("guest agent features: %s", failure.value)
