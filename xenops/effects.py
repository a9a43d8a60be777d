"""Carry out the atoms of a plan on one VM."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from xapi_py.base.reactor import Clock
from xapi_py.base.undo import Undo
from xenops import errors, memory
from xenops.backends.contract import Backend, CreateRequest, GuestRequest, ShutdownReason
from xenops.metadata import Disk
from xenops.plan import Atom, AtomKind
from xenops.storage import Storage
from xenops.vms import Vm
from xenops.waiting import sleep

Done = Awaitable[None]


class Hooks(Protocol):
    """Scripts the administrator has put in the way of operations."""

    async def run(self, folder: str, vm: str, reason: str, domid: int | None) -> None:
        """Run all scripts of a folder in order.  Errors: Hook_failed."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a guest may take, in seconds."""

    shutdown_ack_s: float = 60.0
    suspend_ack_s: float = 30.0
    suspend_s: float = 1200.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What effects work with, the same for all VMs."""

    backend: Backend
    storage: Storage
    hooks: Hooks
    clock: Clock
    timeouts: Timeouts


class VmEffects:
    """The effects of one operation on one VM.

    ``timeout_s`` is what the guest has in all for a clean shutdown; ``disk``
    where the suspend image is.
    """

    def __init__(
        self,
        around: Surroundings,
        vm: Vm,
        dbg: str,
        *,
        timeout_s: float = 1200.0,
        disk: Disk | None = None,
    ) -> None:
        self._around = around
        self._backend = around.backend
        self._vm = vm
        self._dbg = dbg
        self._timeout_s = timeout_s
        self._disk = disk

    async def run(self, atom: Atom, undo: Undo) -> None:
        """Carry out one atom, telling ``undo`` how to take it back."""
        await _EFFECTS[atom.kind](self, atom, undo)

    @property
    def domid(self) -> int:
        """The VM's domain.  Errors: Does_not_exist."""
        found = self._backend.find(self._vm.id)
        if found is None:
            raise errors.does_not_exist("domain", self._vm.id)
        return found.domid

    def _known_domid(self) -> int | None:
        found = self._backend.find(self._vm.id)
        return None if found is None else found.domid

    async def _hook(self, atom: Atom, undo: Undo) -> None:
        await self._around.hooks.run(atom.device, self._vm.id, atom.option, self._known_domid())

    async def _create(self, atom: Atom, undo: Undo) -> None:
        vm, extra = self._vm.md.vm, self._vm.extra
        overhead = memory.overhead_bytes(vm)
        if atom.option == "resume":
            both = extra.suspend_memory_bytes + overhead
            request = CreateRequest(both, both)
        else:
            request = CreateRequest(
                vm.memory_dynamic_min + overhead, vm.memory_dynamic_max + overhead
            )
            extra.platformdata = dict(vm.platformdata)
            extra.nomigrate = extra.platformdata.get("nomigrate", "") in ("1", "true")
            extra.nested_virt = extra.platformdata.get("nested-virt", "") in ("1", "true")
        domid = await self._backend.create(self._vm.md, request)
        undo.push("destroy domain", lambda: self._backend.destroy(domid))

    async def _build(self, atom: Atom, undo: Undo) -> None:
        domid, disk = self.domid, self._boot_disk()
        if disk is None:
            await self._backend.build(domid, self._vm.md.vm)
            return
        dp = f"vm/{domid}/boot"
        path = await self._around.storage.attach(self._dbg, dp, self._vm.id, disk, writable=False)
        try:
            await self._backend.build(domid, self._vm.md.vm, path)
        finally:
            await self._around.storage.detach(self._dbg, dp, disk)

    def _boot_disk(self) -> Disk | None:
        """Give the disk that a boot loader has to read before there is a guest."""
        vm = self._vm.md.vm
        if not self._backend.reads_boot_disk or vm.is_hvm or vm.pv.direct:
            return None
        disks = [vbd.backend for vbd in self._vm.md.vbds if vbd.backend and vbd.ty == "Disk"]
        bootable = [disk for disk in disks if disk.vdi in vm.pv.devices]
        return next(iter(bootable or disks), None)

    async def _restore(self, atom: Atom, undo: Undo) -> None:
        if atom.option == "inline":
            await self._backend.restore(self.domid, self._vm.md.vm, "", self._vm.extra.image)
            return
        domid, disk = self.domid, self._image_disk()
        dp = f"vm/{domid}/suspend"
        path = await self._around.storage.attach(self._dbg, dp, self._vm.id, disk, writable=False)
        try:
            await self._backend.restore(domid, self._vm.md.vm, path, self._vm.extra.image)
        finally:
            await self._around.storage.detach(self._dbg, dp, disk)

    async def _save(self, atom: Atom, undo: Undo) -> None:
        domid, disk = self.domid, self._image_disk()
        dp = f"vm/{domid}/suspend"
        path = await self._around.storage.attach(self._dbg, dp, self._vm.id, disk, writable=True)
        try:
            await self.stop_to_suspend(domid)
            undo.push("resume", lambda: self._backend.resume_fast(domid))
            saved = await self._backend.save(domid, path)
        finally:
            await self._around.storage.detach(self._dbg, dp, disk)
        self._vm.extra.suspend_memory_bytes = saved.memory_bytes
        self._vm.extra.image = dict(saved.inline)

    async def stop_to_suspend(self, domid: int) -> None:
        """Have the guest stop so that its memory can be saved.

        Errors: Failed_to_acknowledge_suspend_request, Failed_to_suspend.
        """
        timeouts = self._around.timeouts
        if not await self._backend.request_shutdown(domid, "suspend", timeouts.suspend_ack_s):
            raise errors.failed_to_acknowledge_suspend_request()
        reason = await self._backend.wait_shutdown(domid, timeouts.suspend_s)
        if reason is not ShutdownReason.SUSPEND:
            raise errors.failed_to_suspend(self._vm.id, timeouts.suspend_s)

    async def let_go(self, domid: int, device: str) -> None:
        """Take a disk from a domain, which need not be the VM's newest one."""
        disk = await self._backend.vbd_unplug(domid, device, force=True)
        if disk is not None:
            await self._around.storage.detach(self._dbg, f"vbd/{domid}/{device}", disk)

    def _image_disk(self) -> Disk:
        if self._disk is None:
            raise errors.invalid_metadata("disk: a suspend image is needed")
        return self._disk

    async def _create_device_model(self, atom: Atom, undo: Undo) -> None:
        domid = self.domid
        restore = self._vm.extra.suspend_memory_bytes > 0
        await self._backend.create_device_model(domid, self._vm.md, restore=restore)
        undo.push("destroy device model", lambda: self._backend.destroy_device_model(domid))

    async def _destroy_device_model(self, atom: Atom, undo: Undo) -> None:
        domid = self._known_domid()
        if domid is not None:
            await self._backend.destroy_device_model(domid)

    async def _clear_action_request(self, atom: Atom, undo: Undo) -> None:
        await self._backend.clear_action_request(self.domid)

    async def _pause(self, atom: Atom, undo: Undo) -> None:
        domid = self._known_domid()
        if domid is None and atom.option == "best effort":
            return
        await self._backend.pause(self.domid)

    async def _unpause(self, atom: Atom, undo: Undo) -> None:
        await self._backend.unpause(self.domid)

    async def _shutdown_domain(self, atom: Atom, undo: Undo) -> None:
        request: GuestRequest = "reboot" if atom.option == "reboot" else "poweroff"
        domid, clock = self.domid, self._around.clock
        deadline = clock.seconds() + self._timeout_s
        ack_s = min(self._around.timeouts.shutdown_ack_s, self._timeout_s)
        if not await self._backend.request_shutdown(domid, request, ack_s):
            raise errors.failed_to_acknowledge_shutdown_request()
        left_s = max(0.0, deadline - clock.seconds())
        if await self._backend.wait_shutdown(domid, left_s) is None:
            raise errors.failed_to_shutdown(self._vm.id, self._timeout_s)

    async def _delay(self, atom: Atom, undo: Undo) -> None:
        await sleep(self._around.clock, float(atom.option))

    async def _destroy(self, atom: Atom, undo: Undo) -> None:
        domid = self._known_domid()
        if domid is None:
            return
        for device in list(self._backend.stat(domid).vbds):  # plugged, but unknown to the metadata
            await self._vbd_unplug(Atom(AtomKind.VBD_UNPLUG, device, "hard"), undo)
        await self._backend.destroy(domid)

    async def _set_active(self, atom: Atom, undo: Undo) -> None:
        kind = atom.kind.split("_")[0]
        self._vm.extra.set_active(kind, atom.device, atom.option == "true")

    async def _epoch(self, atom: Atom, undo: Undo) -> None:
        """The storage daemon resets volatile disks at attach: nothing to tell it."""

    async def _vbd_plug(self, atom: Atom, undo: Undo) -> None:
        vbd, domid = self._vm.md.vbd(atom.device), self.domid
        path, dp = "", f"vbd/{domid}/{vbd.device}"
        if vbd.backend is not None:
            disk, writable = vbd.backend, vbd.mode == "RW"
            path = await self._around.storage.attach(
                self._dbg, dp, self._vm.id, disk, writable=writable
            )
            undo.push("detach disk", lambda: self._around.storage.detach(self._dbg, dp, disk))
        await self._backend.vbd_plug(domid, vbd, path)
        undo.push("unplug", lambda: self._backend.vbd_unplug(domid, vbd.device, force=True))

    async def _vbd_unplug(self, atom: Atom, undo: Undo) -> None:
        domid = self._known_domid()
        if domid is None:
            return
        force = atom.option == "hard"
        disk = await self._backend.vbd_unplug(domid, atom.device, force=force)
        if disk is not None:
            dp = f"vbd/{domid}/{atom.device}"
            await self._around.storage.detach(self._dbg, dp, disk)

    async def _vif_plug(self, atom: Atom, undo: Undo) -> None:
        vif, domid = self._vm.md.vif(atom.device), self.domid
        await self._backend.vif_plug(domid, vif)
        undo.push("unplug", lambda: self._backend.vif_unplug(domid, vif.device, force=True))

    async def _vif_unplug(self, atom: Atom, undo: Undo) -> None:
        domid = self._known_domid()
        if domid is not None:
            force = atom.option == "hard"
            await self._backend.vif_unplug(domid, atom.device, force=force)

    async def _pci_plug(self, atom: Atom, undo: Undo) -> None:
        pci, domid = self._vm.md.pci(atom.device), self.domid
        await self._backend.pci_plug(domid, pci)
        undo.push("unplug", lambda: self._backend.pci_unplug(domid, pci.device))

    async def _pci_unplug(self, atom: Atom, undo: Undo) -> None:
        domid = self._known_domid()
        if domid is not None:
            await self._backend.pci_unplug(domid, atom.device)

    async def _vusb(self, atom: Atom, undo: Undo) -> None:
        raise errors.unimplemented("USB passthrough")


_EFFECTS: dict[AtomKind, Callable[[VmEffects, Atom, Undo], Done]] = {
    AtomKind.HOOK: VmEffects._hook,
    AtomKind.CREATE: VmEffects._create,
    AtomKind.BUILD: VmEffects._build,
    AtomKind.RESTORE: VmEffects._restore,
    AtomKind.SAVE: VmEffects._save,
    AtomKind.CREATE_DEVICE_MODEL: VmEffects._create_device_model,
    AtomKind.DESTROY_DEVICE_MODEL: VmEffects._destroy_device_model,
    AtomKind.CLEAR_ACTION_REQUEST: VmEffects._clear_action_request,
    AtomKind.PAUSE: VmEffects._pause,
    AtomKind.UNPAUSE: VmEffects._unpause,
    AtomKind.SHUTDOWN_DOMAIN: VmEffects._shutdown_domain,
    AtomKind.DELAY: VmEffects._delay,
    AtomKind.DESTROY: VmEffects._destroy,
    AtomKind.VBD_SET_ACTIVE: VmEffects._set_active,
    AtomKind.VBD_EPOCH_BEGIN: VmEffects._epoch,
    AtomKind.VBD_EPOCH_END: VmEffects._epoch,
    AtomKind.VBD_PLUG: VmEffects._vbd_plug,
    AtomKind.VBD_UNPLUG: VmEffects._vbd_unplug,
    AtomKind.VIF_SET_ACTIVE: VmEffects._set_active,
    AtomKind.VIF_PLUG: VmEffects._vif_plug,
    AtomKind.VIF_UNPLUG: VmEffects._vif_unplug,
    AtomKind.PCI_PLUG: VmEffects._pci_plug,
    AtomKind.PCI_UNPLUG: VmEffects._pci_unplug,
    AtomKind.VGPU_SET_ACTIVE: VmEffects._set_active,
    AtomKind.VUSB_PLUG: VmEffects._vusb,
    AtomKind.VUSB_UNPLUG: VmEffects._epoch,
}
