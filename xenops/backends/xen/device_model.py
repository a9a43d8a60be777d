"""The QEMU that emulates the hardware of a guest: its life, its drives, its state."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.undo import Undo
from xenops import errors
from xenops.backends.contract import Change
from xenops.backends.xen import emulators, paths, qemu, qemu_command
from xenops.backends.xen.devices import vbd_layout
from xenops.backends.xen.devices.surroundings import Domains, Host
from xenops.backends.xen.disk_servers import within
from xenops.backends.xen.qemu import EmulatorFailed, Qemu
from xenops.backends.xen.qemu_command import Drive
from xenops.metadata import VmMetadata
from xenops.qmp.client import QmpError, QmpLost
from xenops.qmp.codec import Event
from xenops.xenstore.errors import StoreError

log = logging.getLogger(__name__)

CRASH: Final = 3
"""Xen's number for a guest that crashed."""

RESTORE_S: Final = 120.0
PROGRAM_NAME: Final = "qemu-dm"


class Wiring(Protocol):
    """Where the emulated hardware gets its disks from, and its networks."""

    async def drives(self, domid: int) -> list[Drive]:
        """Give the disks that may be emulated."""

    async def join_taps(self, domid: int, md: VmMetadata, devices: Sequence[str]) -> None:
        """Put the emulated network devices where their VIFs are."""


class DeviceModel:
    """The emulators, by domain.

    A guest whose emulator ends by itself is stopped as crashed: nothing of its
    hardware answers any more, and the VM's own settings say what comes next.
    """

    def __init__(self, host: Host, domains: Domains, wiring: Wiring) -> None:
        self._host = host
        self._domains = domains
        self._wiring = wiring
        self._running: dict[int, Qemu] = {}
        self._resumed: dict[int, Deferred[None]] = {}

    def vnc_path(self, domid: int) -> Path:
        """Give where the emulator shows the guest's screen."""
        return self._host.run_folder / f"qemu-{domid}.vnc"

    def state_path(self, domid: int) -> Path:
        """Give where the emulator's state is kept between two domains."""
        return self._host.run_folder / f"qemu-{domid}.state"

    def has(self, domid: int) -> bool:
        """Whether a domain has an emulator."""
        return domid in self._running

    async def recover(self, domid: int) -> None:
        """Find the emulator of an earlier life; one that has ended meanwhile is noticed."""
        if not self._domains.get(domid).hvm:
            return
        pid = await self._host.store.read_or(f"{paths.home(domid)}/qemu-pid")
        if pid is None or not pid.isdecimal():
            return
        found = await qemu.adopt(self._host, _name(domid), int(pid))
        if found is None:
            self._died(domid, "exit:unknown")
        else:
            self._take(domid, found)

    async def start(self, domid: int, md: VmMetadata, *, restore: bool) -> None:
        """Start the emulator and let its hardware run; the guest itself stays as it is.

        With ``restore`` its state is read from ``state_path``.  Errors:
        Failed_to_start_emulator, and those of the network; nothing is left then.
        """
        try:
            async with Undo() as undo:
                undo.push("stop emulator", lambda: self.stop(domid))
                drives = await self._wiring.drives(domid)
                await self._start(domid, md, drives, restore=restore)
        except (EmulatorFailed, QmpError, QmpLost) as problem:
            raise errors.failed_to_start_emulator(md.vm.id, "qemu", str(problem)) from problem

    async def _start(
        self, domid: int, md: VmMetadata, drives: Sequence[Drive], *, restore: bool
    ) -> None:
        state, vnc = self.state_path(domid), self.vnc_path(domid)
        vnc.unlink(missing_ok=True)
        arguments = qemu_command.machine(domid, md, drives, vnc=str(vnc), restore=restore)
        if restore:
            fd = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fds = {qemu_command.RESTORE_FD: fd}
                running = await qemu.start(self._host, _name(domid), arguments, fds)
            finally:
                os.close(fd)
        else:
            running = await qemu.start(self._host, _name(domid), arguments)
        self._take(domid, running)
        await self._publish(domid, running)
        nics = sorted((vif.device for vif in md.vifs), key=int)[: qemu_command.MAX_NICS]
        await self._wiring.join_taps(domid, md, nics)
        resumed = self._resumed[domid] = Deferred()
        try:
            await running.qmp.call("cont")
            if restore and not await within(self._host.reactor, resumed, RESTORE_S):
                raise EmulatorFailed("its state was not read in time")
        finally:
            self._resumed.pop(domid, None)
        if domid not in self._running:
            raise EmulatorFailed(emulators.tail(qemu.log_path(self._host, _name(domid))))
        state.unlink(missing_ok=True)

    async def _publish(self, domid: int, running: Qemu) -> None:
        home = paths.home(domid)
        keys = {
            f"{home}/qemu-pid": str(running.process.pid),
            f"{home}/image/device-model-pid": str(running.process.pid),
            f"{home}/platform/device-model": "qemu_xen",
            f"{paths.libxl(domid)}/dm-version": "qemu_xen",
        }
        for device in await running.qmp.call("query-chardev"):
            name = str(device.get("filename", ""))
            if device.get("label") == "serial0" and name.startswith("pty:"):
                keys[f"{home}/serial/0/tty"] = name.removeprefix("pty:")
        await self._host.store.write_many(keys)

    async def stop(self, domid: int) -> None:
        """End the emulator; nothing to do when there is none."""
        running = self._running.pop(domid, None)
        if running is not None:
            await running.stop()
            home = paths.home(domid)
            gone = [f"{home}/qemu-pid", f"{home}/image/device-model-pid", f"{home}/serial/0/tty"]
            await self._host.store.remove_many([*gone, paths.emulator(domid)])
        self.vnc_path(domid).unlink(missing_ok=True)
        qemu.log_path(self._host, _name(domid)).unlink(missing_ok=True)

    async def save_state(self, domid: int) -> Path | None:
        """Stop the hardware and write its state; None without an emulator.

        Errors: QmpError, QmpLost.
        """
        running = self._running.get(domid)
        if running is None:
            return None
        path = self.state_path(domid)
        path.unlink(missing_ok=True)
        await running.qmp.call("stop")
        await running.qmp.call("xen-save-devices-state", filename=str(path), live=False)
        return path

    async def log_dirty(self, domid: int, enable: bool) -> None:
        """Have the emulator tell which pages it writes, for live migration."""
        running = self._running.get(domid)
        if running is not None:
            await running.qmp.call("xen-set-global-dirty-log", enable=enable)

    async def resumed(self, domid: int) -> None:
        """Let the hardware go on after ``save_state``."""
        running = self._running.get(domid)
        if running is not None:
            await running.qmp.call("cont")
            self.state_path(domid).unlink(missing_ok=True)

    async def unpaused(self, domid: int) -> None:
        """The hardware runs since its start: there is nothing to do."""

    async def set_vcpus(self, domid: int, count: int) -> None:
        """Plug virtual CPUs into the emulated board until there are ``count``."""
        running = self._running.get(domid)
        if running is None:
            return
        try:
            slots = await running.qmp.call("query-hotpluggable-cpus")
            there = sum("qom-path" in slot for slot in slots)
            for slot in [slot for slot in reversed(slots) if "qom-path" not in slot]:
                if there >= count:
                    break
                name = f"cpu-{there}"
                options = {"driver": slot["type"], "id": name, **slot["props"]}
                await running.qmp.call("device_add", options)
                there += 1
        except (QmpError, QmpLost) as problem:
            log.warning("CPUs of domain %d: %s", domid, problem)

    async def add_device(self, domid: int, options: dict[str, object]) -> None:
        """Plug a device into the emulated board.  Errors: QmpError, QmpLost."""
        await self._with_emulator(domid).qmp.call("device_add", options)

    async def load(self, domid: int, drive: Drive) -> None:
        """Put a medium into a drive.  Errors: QmpError, QmpLost."""
        running = self._with_emulator(domid)
        name, device = _medium(drive.device), qemu_command.drive_id(drive.device)
        data = vbd_layout.data_node(name, drive.path, writable=False, block=drive.block)
        await running.qmp.call("blockdev-add", data)
        try:
            await self._open_tray(running, device)
            await running.qmp.call("blockdev-insert-medium", {"id": device, "node-name": name})
            await running.qmp.call("blockdev-close-tray", id=device)
        except QmpError:
            await running.qmp.call("blockdev-del", {"node-name": name})
            raise

    async def unload(self, domid: int, device: str) -> None:
        """Empty a drive, also one that the guest has locked; errors as ``load``."""
        running = self._with_emulator(domid)
        await self._open_tray(running, qemu_command.drive_id(device))
        await running.qmp.call("blockdev-remove-medium", id=qemu_command.drive_id(device))
        await running.qmp.call("blockdev-close-tray", id=qemu_command.drive_id(device))
        await running.qmp.call("blockdev-del", {"node-name": _medium(device)})

    async def _open_tray(self, running: Qemu, device: str) -> None:
        await running.qmp.call("blockdev-open-tray", {"id": device, "force": True})

    def _with_emulator(self, domid: int) -> Qemu:
        running = self._running.get(domid)
        if running is None:
            raise QmpLost("the domain has no emulator")
        return running

    def forget(self, domid: int) -> None:
        """Leave a domain's emulator to itself."""
        running = self._running.pop(domid, None)
        if running is not None:
            running.let_go()

    def _take(self, domid: int, running: Qemu) -> None:
        self._running[domid] = running
        running.process.on_end = lambda outcome: self._died(domid, outcome)
        running.qmp.on_event = lambda event: self._happened(domid, event)

    def _happened(self, domid: int, event: Event) -> None:
        if event.name == "RESUME":
            waiter = self._resumed.get(domid)
            if waiter is not None and not waiter.called:
                waiter.callback(None)
        elif event.name == "RTC_CHANGE":
            offset = int(event.data.get("offset", 0))
            Deferred.fromCoroutine(self._clock_set(domid, offset)).addErrback(log.error)

    async def _clock_set(self, domid: int, offset_s: int) -> None:
        path = f"{paths.vm_tree(self._domains.get(domid).vm)}/rtc/timeoffset"
        before = await self._host.store.read_or(path, "0")
        number = int(before) if before and before.lstrip("-").isdecimal() else 0
        await self._host.store.write(path, str(number + offset_s))

    def _died(self, domid: int, outcome: str) -> None:
        self._running.pop(domid, None)
        waiter = self._resumed.get(domid)
        if waiter is not None and not waiter.called:
            waiter.callback(None)
            return  # its start reports it
        log.error("the emulator of domain %d has ended: %s", domid, outcome)
        Deferred.fromCoroutine(self._crash(domid, outcome)).addErrback(log.error)

    async def _crash(self, domid: int, outcome: str) -> None:
        try:
            vm = self._domains.get(domid).vm
            await self._host.store.write(f"{paths.home(domid)}/qemu-pid-signal", outcome)
            await self._host.in_thread(self._host.xc.shutdown, domid, CRASH)
        except (RpcError, StoreError, OSError) as problem:
            log.warning("domain %d: %s", domid, problem)
            return
        self._host.announce(Change("vm", vm))


def _name(domid: int) -> str:
    return f"{PROGRAM_NAME}-{domid}"


def _medium(device: str) -> str:
    return qemu_command.medium_node(device)
