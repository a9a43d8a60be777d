"""Loading a guest: what comes before and after the library's part of it."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xenops import errors, memory
from xenops.backends.xen import layout, paths
from xenops.backends.xen.bootloader import Bootloader
from xenops.backends.xen.domains import Domains, XenDomain
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.worker import WorkerError, Workers
from xenops.bindings.builder import Image, Loaded
from xenops.bindings.errors import XenError
from xenops.bindings.interface import PAGE, HvmParam
from xenops.metadata import VmConfig
from xenops.waiting import sleep

log = logging.getLogger(__name__)

MIB: Final = 1 << 20
WAIT_FREE_S: Final = 64
"""How long memory of a domain that has just ended may take to be free."""

FIRMWARE: Final = {
    "bios": ("/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/bios.bin"),
    "uefi": ("/usr/share/ovmf/OVMF.fd", "/usr/lib/xen/boot/ovmf.bin"),
}
SHIM_ARGUMENTS: Final = "pv-shim console=xen"
_TRUE: Final = ("1", "true", "True", "TRUE")


@dataclass(frozen=True, slots=True)
class Ports:
    """The guest's event channels towards the control domain."""

    store: int
    console: int


class Build:
    """From an empty domain to one that can run."""

    def __init__(self, host: XenHost, domains: Domains, workers: Workers) -> None:
        self._host = host
        self._domains = domains
        self._workers = workers
        self._bootloader = Bootloader(host)

    async def build(self, domid: int, vm: VmConfig, boot_disk: str) -> None:
        """Load kernel or firmware.  Errors: Domain_not_built, Bootloader_error."""
        domain = self._domains.get(domid)
        ports = await self.prepare(domid, vm)
        with await self._bootloader.boot_files(domid, vm, boot_disk) as files:
            image = _image(vm, domain, ports)
            image = dataclasses.replace(
                image,
                kernel=files.kernel or image.kernel,
                ramdisk=files.ramdisk,
                cmdline=files.cmdline,
            )
            loaded = await self._load(domid, image)
        await self.finish(domid, vm, ports, loaded)

    async def _load(self, domid: int, image: Image) -> Loaded:
        request = {"domid": domid, "image": dataclasses.asdict(image)}
        try:
            found = await self._workers.run("build", request)
        except WorkerError as error:
            raise errors.domain_not_built(str(error)) from error
        return Loaded(found["store_mfn"], found["console_mfn"])

    async def prepare(self, domid: int, vm: VmConfig) -> Ports:
        """Give an empty domain what it needs before memory is filled.

        Errors: Cannot_free_this_much_memory, Domain_not_built.
        """
        domain = self._domains.get(domid)
        await self._wait_for_memory(domain)
        try:
            return self._prepare(domain, vm)
        except XenError as error:
            raise errors.domain_not_built(str(error)) from error

    def _prepare(self, domain: XenDomain, vm: VmConfig) -> Ports:
        xc, domid, flags = self._host.xc, domain.domid, vm.platformdata
        static_max_mib = -(-vm.memory_static_max // MIB)
        internal = 0 if vm.ty == "PV" else 1
        xen_max_mib = static_max_mib + internal + memory.shim_mib(vm.ty, static_max_mib)
        xc.set_max_vcpus(domid, vm.vcpu_max)
        xc.set_max_memory(domid, xen_max_mib * 1024)
        if vm.ty == "PV":
            xc.set_memory_map_limit(domid, xen_max_mib * 1024)
        else:
            shadow = memory.shadow_mib(static_max_mib, vm.vcpu_max, vm.shadow_multiplier)
            xc.set_shadow_mib(domid, shadow)
            self._parameters(domid, vm)
        features = _features(flags.get("featureset", ""))
        xc.apply_cpu_policy(domid, features, nested=flags.get("nested-virt", "") in _TRUE)
        if flags.get("tsc_mode", "") in ("1", "2", "3"):
            xc.set_tsc_mode(domid, int(flags["tsc_mode"]))
        params = vm.scheduler_params
        xc.set_scheduling(domid, params.weight, params.cap)
        for vcpu in range(vm.vcpu_max if params.affinity else 0):
            masks = params.affinity
            xc.set_affinity(domid, vcpu, masks[vcpu] if vcpu < len(masks) else masks[0])
        if vm.ty == "HVM":
            xc.set_time_offset(domid, _whole(domain.record.rtc_timeoffset))
        return Ports(xc.alloc_unbound(domid, 0), xc.alloc_unbound(domid, 0))

    def _parameters(self, domid: int, vm: VmConfig) -> None:
        xc, flags = self._host.xc, vm.platformdata
        if vm.ty == "HVM":
            xc.set_hvm_param(domid, HvmParam.HPET_ENABLED, int(flags.get("hpet", "1") in _TRUE))
            if viridian := _viridian(flags.get("viridian", "")):  # Xen refuses to be told "none"
                xc.set_hvm_param(domid, HvmParam.VIRIDIAN, viridian)
        xc.set_hvm_param(domid, HvmParam.TRIPLE_FAULT_REASON, 1)
        if flags.get("timer_mode", "").isdigit():
            xc.set_hvm_param(domid, HvmParam.TIMER_MODE, int(flags["timer_mode"]))

    async def _wait_for_memory(self, domain: XenDomain) -> None:
        """Wait while the hypervisor still clears what was just given back."""
        needed = domain.record.target + domain.record.overhead
        for _ in range(WAIT_FREE_S):
            info = self._host.xc.physical_info()
            if info.free_pages * PAGE >= needed:
                return
            if not info.scrub_pages:
                break
            await sleep(self._host.reactor, 1.0)
        raise errors.cannot_free_this_much_memory(needed, info.free_pages * PAGE)

    async def finish(self, domid: int, vm: VmConfig, ports: Ports, loaded: Loaded) -> None:
        """Connect a loaded guest to xenstore and its console."""
        domain, store = self._domains.get(domid), self._host.store
        record, home = domain.record, paths.home(domid)
        target = record.target - record.video_mib * MIB
        keys = layout.built(
            domid, ports.store, loaded.store_mfn, ports.console, loaded.console_mfn
        ) | layout.memory(record.static_max, target, record.dynamic_min, record.dynamic_max)
        record.reserved, record.built = 0, True
        writes = store.write_many({f"{home}/{key}": value for key, value in keys.items()})
        tty = store.set_permissions(f"{home}/console/tty", paths.readable_by(domid))
        if vm.ty != "PV":
            await store.write(f"{paths.vm_tree(vm.id)}/rtc/timeoffset", record.rtc_timeoffset)
        kind = {"HVM": "HVM", "PV": "PV"}.get(vm.ty, "PVH")
        await store.write_many(
            {f"{paths.libxl(domid)}/type": kind, f"{paths.libxl(domid)}/dm-version": "qemu_xen"}
        )
        await self._domains.save(domain)
        await writes
        await tty
        for key, value in keys.items():
            domain.mirror.put(key, value)
        await self._domains.follow(domain, fresh=True)
        await store.introduce(domid, loaded.store_mfn, ports.store)


def _image(vm: VmConfig, domain: XenDomain, ports: Ports) -> Image:
    video = domain.record.video_mib
    kind = {"HVM": "hvm", "PV": "pv"}.get(vm.ty, "pvh")
    if vm.ty == "PVinPVH":
        raise errors.unimplemented("PV guests in a PVH container")
    firmware = _first_of(FIRMWARE[vm.hvm.firmware]) if kind == "hvm" else ""
    return Image(
        kind=kind,
        kernel=_hvmloader() if kind == "hvm" else vm.pv.kernel,
        cmdline="",
        ramdisk="",
        firmware=firmware,
        max_mib=-(-vm.memory_static_max // MIB) - video,
        target_mib=domain.record.target // MIB - video,
        vcpus=vm.vcpu_max,
        vcpus_online=vm.vcpus,
        store_port=ports.store,
        console_port=ports.console,
    )


def _hvmloader() -> str:
    found = sorted(Path("/usr/lib").glob("xen*/boot/hvmloader"))
    if not found:
        raise errors.domain_not_built("hvmloader is missing: install Xen's tools (xen-utils)")
    return str(found[-1])


def _first_of(candidates: tuple[str, ...]) -> str:
    for path in candidates:
        if Path(path).exists():
            return path
    raise errors.domain_not_built(f"firmware is missing: {' or '.join(candidates)}")


def _features(text: str) -> list[int] | None:
    """Read a set of CPU features, words of 8 hexadecimal digits with dashes."""
    try:
        return [int(word, 16) for word in text.split("-")] if text else None
    except ValueError:
        return None


def _viridian(flag: str) -> int:
    # Base and frequency interfaces, as the reference toolstack has them on.
    return 1 | 1 << 2 | 1 << 5 if flag in _TRUE else 0


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
