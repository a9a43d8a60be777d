"""Disks that QEMU serves: one process for each domain that has such disks.

It attaches to the domain as a backend only, and creates and removes both sides
of a disk in xenstore itself, as we tell it over QMP.
"""

import logging
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredLock

from xenops.backends.xen import paths, qemu, qemu_command
from xenops.backends.xen.devices import vbd_layout
from xenops.backends.xen.devices.surroundings import Host
from xenops.backends.xen.devices.vbd_layout import PluggedDisk
from xenops.backends.xen.qemu import Qemu
from xenops.qmp.client import QmpError, QmpLost
from xenops.qmp.codec import Event

log = logging.getLogger(__name__)

FORCED_S: Final = 10.0
"""How long QEMU may take to let a disk go that the guest has lost already."""


class DiskServers:
    """The processes, by domain."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._running: dict[int, Qemu] = {}
        self._starting: dict[int, DeferredLock] = {}
        self._deleted: dict[tuple[int, str], Deferred[None]] = {}

    async def recover(self, domid: int) -> None:
        """Find the process of an earlier life of this daemon."""
        pid = await self._host.store.read_or(_pid_path(domid))
        if pid is not None and pid.isdecimal():
            found = await qemu.adopt(self._host, _name(domid), int(pid))
            if found is not None:
                self._take(domid, found)

    async def serve(self, domid: int, disk: PluggedDisk, *, block: bool) -> None:
        """Give a domain a disk.  Errors: EmulatorFailed, QmpError, QmpLost."""
        server = await self._ensure(domid)
        writable = disk.mode == "RW"
        data = vbd_layout.data_node(disk.node, disk.path, writable=writable, block=block)
        await server.qmp.call("blockdev-add", data)
        try:
            await server.qmp.call("device_add", vbd_layout.xen_disk(disk))
        except QmpError:
            await self._delete_data(server, disk)
            raise

    async def withdraw(self, domid: int, disk: PluggedDisk) -> "Deferred[None] | None":
        """Begin to take a disk away; what is given fires once QEMU has let it go.

        None when there is no process any more.
        """
        server = self._running.get(domid)
        if server is None:
            return None
        device = f"xen-{disk.node}"
        gone: Deferred[None] = Deferred()
        self._deleted[domid, device] = gone
        try:
            await server.qmp.call("device_del", id=device)
        except QmpError as problem:
            if problem.kind == "DeviceNotFound":
                del self._deleted[domid, device]
                return None
            if "in the process of unplug" not in str(problem):
                del self._deleted[domid, device]
                raise
        except QmpLost:
            self._deleted.pop((domid, device), None)
            return None
        return gone

    async def forget_data(self, domid: int, disk: PluggedDisk) -> None:
        """Close the data of a disk that is gone."""
        server = self._running.get(domid)
        if server is not None:
            await self._delete_data(server, disk)

    async def stop(self, domid: int) -> None:
        """End a domain's process."""
        server = self._running.pop(domid, None)
        self._starting.pop(domid, None)
        if server is not None:
            await server.stop()
            await self._host.store.remove_many([_pid_path(domid), paths.emulator(domid)])
        qemu.log_path(self._host, _name(domid)).unlink(missing_ok=True)

    def forget(self, domid: int) -> None:
        """Leave a domain's process to itself."""
        server = self._running.pop(domid, None)
        if server is not None:
            server.let_go()

    async def _ensure(self, domid: int) -> Qemu:
        lock = self._starting.setdefault(domid, DeferredLock())
        await lock.acquire()
        try:
            found = self._running.get(domid)
            if found is not None:
                return found
            name = _name(domid)
            server = await qemu.start(self._host, name, qemu_command.disk_server(domid, name))
            self._take(domid, server)
            await self._host.store.write(_pid_path(domid), str(server.process.pid))
            return server
        finally:
            lock.release()

    def _take(self, domid: int, server: Qemu) -> None:
        self._running[domid] = server

        def ended(outcome: str) -> None:
            said = qemu.log_path(self._host, _name(domid))
            log.error("the disks of domain %d are gone: QEMU %s; see %s", domid, outcome, said)
            self._running.pop(domid, None)
            for key in [key for key in self._deleted if key[0] == domid]:
                self._deleted.pop(key).callback(None)

        def happened(event: Event) -> None:
            if event.name == "DEVICE_DELETED":
                gone = self._deleted.pop((domid, str(event.data.get("device", ""))), None)
                if gone is not None:
                    gone.callback(None)

        server.process.on_end = ended
        server.qmp.on_event = happened

    async def _delete_data(self, server: Qemu, disk: PluggedDisk) -> None:
        try:
            await server.qmp.call("blockdev-del", {"node-name": disk.node})
        except (QmpError, QmpLost) as problem:
            log.warning("the data of %s stays open: %s", disk.device, problem)


def _name(domid: int) -> str:
    return f"qemu-disks-{domid}"


def _pid_path(domid: int) -> str:
    return f"{paths.mirror(domid)}/disk-server-pid"


async def within(clock: Any, gone: "Deferred[None]", seconds: float) -> bool:
    """Wait for something, but not for ever; whether it happened."""
    timer = clock.callLater(seconds, gone.cancel)
    try:
        await gone
    except CancelledError:
        if timer.active():
            raise
        return False
    finally:
        if timer.active():
            timer.cancel()
    return True
