"""The backend contract on simulated domains."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from xapi_py.base.reactor import Clock
from xenops import errors
from xenops.backends.contract import (
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
    VbdStat,
    VifStat,
)
from xenops.backends.simulator import metrics
from xenops.backends.simulator.config import SimulatorSettings
from xenops.backends.simulator.consoles import Consoles
from xenops.backends.simulator.devices import SimulatedDevices, network_device
from xenops.backends.simulator.domain import Domain, PluggedDisk, PluggedNetwork
from xenops.backends.simulator.faults import Faults
from xenops.backends.simulator.hypervisor import Hypervisor
from xenops.metadata import VmConfig, VmMetadata
from xenops.network import Network, NoNetwork

MIB = 1024 * 1024
CONTROL_DOMAIN = 0
IMAGE_SIGNATURE = b"XenSavedDomSim-\n"
XEN_VERSION = {
    "version": "4.7.1",
    "extra_version": ".1",
    "compiler": "gcc",
    "caps": "xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64",
}
BIOS = {
    "bios-vendor": "American Megatrends Inc.",
    "bios-version": "3.2",
    "system-manufacturer": "Simulated Computers",
    "system-product-name": "Rack Server 2",
    "system-version": "1.0",
    "system-serial-number": "SIM0001",
    "hp-rombios": "",
    "oem-1": "Xen",
    "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
}
"""What the firmware of a simulated host says; HVM guests can have it copied."""


class SimulatorBackend(SimulatedDevices):
    """A hypervisor whose state is a folder of small files."""

    name = "simulator"
    reads_boot_disk = False

    def __init__(
        self,
        clock: Clock,
        state: Path,
        settings: SimulatorSettings,
        consoles: Consoles | None = None,
        network: Network | None = None,
    ) -> None:
        section = settings.section
        self._clock = clock
        self._settings = settings
        self._open_consoles = consoles or Consoles(clock, state)
        machine = Hypervisor(clock, state, settings)
        faults = Faults(clock, section.latencies, section.faults)
        super().__init__(machine, faults, network or NoNetwork())
        self._console_ring = f"(XEN) simulated host {settings.host.name}\n"

    def listen(self, listener: Listener) -> None:
        self._machine.listen(listener)

    async def stop(self) -> None:
        self._guests.stop()
        self._machine.flush()

    def flush(self) -> None:
        self._machine.flush()

    def domains(self) -> Sequence[DomainInfo]:
        return [_info(domain) for domain in self._machine.domains.values()]

    def find(self, vm: str) -> DomainInfo | None:
        domain = self._machine.find(vm)
        return None if domain is None else _info(domain)

    def stat(self, domid: int) -> DomainStat:
        domain = self._machine.get(domid)
        return DomainStat(
            memory_target=domain.memory,
            memory_actual=domain.memory,
            memory_limit=domain.memory,
            vcpu_target=domain.vcpus,
            shadow_multiplier_target=domain.shadow_multiplier,
            rtc_timeoffset=domain.rtc_timeoffset,
            uncooperative_balloon_driver=False,
            guest_agent=self._guests.keys(domain),
            xsdata=domain.xsdata,
            pv_drivers_detected=domain.agent,
            consoles=self._consoles(domain),
            vbds={device: _vbd_stat(disk) for device, disk in domain.vbds.items()},
            vifs={device: _vif_stat(vif) for device, vif in domain.vifs.items()},
            pcis=tuple(domain.pcis),
        )

    def _consoles(self, domain: Domain) -> list[Console]:
        if not domain.device_model:
            return []
        if self._settings.bare:
            return []
        path = self._open_consoles.path
        consoles = [Console("rfb", path=path(domain.domid, "rfb"))]
        if not domain.hvm:
            consoles.append(Console("vt100", path=path(domain.domid, "vt100")))
        return consoles

    async def open_console(self, domid: int, protocol: Literal["rfb", "vt100"]) -> Console:
        if domid == CONTROL_DOMAIN and not self._settings.bare:
            name = self._settings.host.name
            return Console(protocol, path=self._open_consoles.open(domid, protocol, name))
        domain = self._machine.get(domid)
        for console in self._consoles(domain):
            if console.protocol == protocol:
                self._open_consoles.open(domid, protocol, domain.name or domain.vm)
                return console
        raise errors.does_not_exist("console", protocol)

    def host_stat(self) -> HostStat:
        cpu = self._settings.host.cpu
        return HostStat(
            memory_total=self._settings.memory_bytes,
            memory_free=self._machine.memory_free,
            control_domain_memory=self._settings.control_domain_bytes,
            cpu={
                "cpu_count": str(cpu.count),
                "socket_count": str(cpu.sockets),
                "threads_per_core": "2" if cpu.count > cpu.sockets else "1",
                "vendor": cpu.vendor,
                "speed": str(cpu.speed_mhz),
                "modelname": cpu.model_name,
                "family": str(cpu.family),
                "model": str(cpu.model),
                "stepping": str(cpu.stepping),
                "features": cpu.features,
                "features_pv": cpu.features,
                "features_hvm": cpu.features,
            },
            hypervisor=XEN_VERSION,
            chipset={"iommu": "true", "igd": "false"},
            bios={} if self._settings.bare else BIOS,
        )

    def host_metrics(self) -> Mapping[str, object]:
        domains = list(self._machine.domains.values())
        figures = metrics.host_figures(
            domains, self._settings.host.cpu.count, self._clock.seconds()
        )
        return figures | {
            "memory_total": self._settings.memory_bytes,
            "memory_free": self._machine.memory_free,
        }

    def metrics(self) -> Mapping[str, Mapping[str, object]]:
        now = self._clock.seconds()
        return {d.vm: metrics.domain_figures(d, now) for d in self._machine.domains.values()}

    def console_data(self) -> str:
        return self._console_ring

    def send_debug_keys(self, keys: str) -> None:
        self._console_ring += "".join(f"(XEN) '{key}' pressed\n" for key in keys)

    def set_guest_agent_features(self, features: Mapping[str, Mapping[str, object]]) -> None:
        """Guests of the simulator look at no features."""

    async def create(self, vm: VmMetadata, request: CreateRequest) -> int:
        await self._faults.step("create", vm.vm.id, vm.vm.name)
        return self._machine.create(vm, request).domid

    async def build(self, domid: int, vm: VmConfig, boot_disk: str = "") -> None:
        domain = await self._step("build", domid)
        domain.built = True
        self._machine.changed(domain)

    async def restore(
        self, domid: int, vm: VmConfig, path: str, inline: Mapping[str, object]
    ) -> None:
        domain = await self._step("restore", domid)
        image = _read_image(path) if path and not inline else inline
        try:
            domain.memory_token = str(image["memory_token"])
            domain.booted_at = float(str(image["booted_at"]))
            domain.agent = bool(image["agent"])
        except (KeyError, ValueError) as error:
            raise errors.io_error(f"not a suspend image: {error}") from error
        domain.built = True
        self._machine.changed(domain)

    async def save(self, domid: int, path: str) -> SavedMemory:
        domain = await self._step("save", domid)
        image: dict[str, object] = {
            "memory_token": domain.memory_token,
            "booted_at": domain.booted_at,
            "agent": domain.agent,
        }
        if not os.path.exists(path):  # a disk of the simulator without content
            return SavedMemory(domain.memory, image)
        try:
            with open(path, "r+b") as file:
                file.write(IMAGE_SIGNATURE + orjson.dumps(image) + b"\n")
        except OSError as error:
            raise errors.io_error(str(error)) from error
        return SavedMemory(domain.memory)

    async def send(
        self, domid: int, address: str, hello: Mapping[str, Any], steps: SendSteps
    ) -> Migration:
        raise errors.unimplemented("live migration to another simulated host")

    async def receive(
        self, vm: VmConfig, token: str, steps: ReceiveSteps, listening: Callable[[str], None]
    ) -> Migration:
        raise errors.unimplemented("live migration to another simulated host")

    async def create_device_model(self, domid: int, vm: VmMetadata, *, restore: bool) -> None:
        domain = await self._step("create_device_model", domid)
        domain.device_model = True
        self._machine.changed(domain)

    async def destroy_device_model(self, domid: int) -> None:
        domain = self._machine.domains.get(domid)
        if domain is not None and domain.device_model:
            self._open_consoles.close(domid)
            domain.device_model = False
            self._machine.changed(domain)

    async def clear_action_request(self, domid: int) -> None:
        domain = self._machine.get(domid)
        domain.survivable = True
        self._machine.changed(domain)

    async def pause(self, domid: int) -> None:
        domain = await self._step("pause", domid)
        domain.paused = True
        self._guests.gone(domain)
        self._machine.changed(domain)

    async def unpause(self, domid: int) -> None:
        domain = await self._step("unpause", domid)
        domain.paused = False
        self._guests.runs(domain)
        self._machine.changed(domain)

    async def request_shutdown(
        self, domid: int, request: GuestRequest, ack_timeout_s: float
    ) -> bool:
        domain = await self._step("request_shutdown", domid)
        return await self._guests.request(domain, request, ack_timeout_s)

    async def wait_shutdown(self, domid: int, timeout_s: float) -> ShutdownReason | None:
        await self._machine.wait_for(domid, lambda d: d.shutdown is not None, timeout_s)
        return self._machine.get(domid).shutdown

    async def resume_fast(self, domid: int) -> None:
        domain = await self._step("resume_fast", domid)
        domain.shutdown = None
        self._guests.runs(domain)
        self._machine.changed(domain)

    async def destroy(self, domid: int) -> None:
        domain = self._machine.domains.get(domid)
        if domain is not None:
            await self._step("destroy", domid)
            for device in domain.vifs:
                await self._network.detach(f"vif/{domid}", network_device(domid, device))
            self._guests.gone(domain)
            self._machine.remove(domain)

    async def set_vcpus(self, domid: int, count: int) -> None:
        domain = await self._step("set_vcpus", domid)
        domain.vcpus = count
        self._machine.changed(domain)

    async def set_memory_dynamic_range(self, domid: int, min_bytes: int, max_bytes: int) -> None:
        domain = await self._step("set_memory_dynamic_range", domid)
        self._machine.set_range(domain, min_bytes, max_bytes)

    async def set_shadow_multiplier(self, domid: int, multiplier: float) -> None:
        domain = await self._step("set_shadow_multiplier", domid)
        domain.shadow_multiplier = multiplier
        self._machine.changed(domain)

    async def set_xsdata(self, domid: int, data: Mapping[str, str]) -> None:
        domain = await self._step("set_xsdata", domid)
        domain.xsdata = {k: v for k, v in data.items() if k.startswith(("vm-data/", "FIST/"))}
        self._machine.changed(domain)

    async def s3_suspend(self, domid: int) -> None:
        domain = await self._step("s3_suspend", domid)
        domain.s3 = True
        self._machine.changed(domain)

    async def s3_resume(self, domid: int) -> None:
        domain = await self._step("s3_resume", domid)
        domain.s3 = False
        self._machine.changed(domain)

    async def run_guest(self, domid: int, action: GuestAction) -> None:
        self._guests.act(self._machine.get(domid), action)

    def inject_fault(self, fault: Mapping[str, object]) -> None:
        self._faults.inject(fault)

    def clear_faults(self) -> None:
        self._faults.clear()

    def power_cycle(self) -> None:
        self._machine.power_cycle()


def _info(domain: Domain) -> DomainInfo:
    return DomainInfo(domain.domid, domain.vm, domain.paused, domain.shutdown, domain.survivable)


def _vbd_stat(drive: PluggedDisk) -> VbdStat:
    disk = drive.disk
    return VbdStat(True, disk is not None, disk)


def _vif_stat(vif: PluggedNetwork) -> VifStat:
    return VifStat(True, vif.mac, vif.bridge, vif.carrier, vif.locking_mode)


def _read_image(path: str) -> Mapping[str, object]:
    try:
        with open(path, "rb") as file:
            if file.read(len(IMAGE_SIGNATURE)) != IMAGE_SIGNATURE:
                raise errors.io_error("not a suspend image")
            image = orjson.loads(file.readline())
    except (OSError, orjson.JSONDecodeError) as error:
        raise errors.io_error(str(error)) from error
    if not isinstance(image, dict):
        raise errors.io_error("not a suspend image")
    return image
