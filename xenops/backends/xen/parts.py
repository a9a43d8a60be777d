"""What the backend is put together from beside the domains themselves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from xenops import errors
from xenops.backends.contract import (
    Console,
    Migration,
    ReceiveSteps,
    SavedMemory,
    SendSteps,
    VbdStat,
    VifStat,
)
from xenops.metadata import Disk, Passthrough, Vbd, Vif, VmConfig, VmMetadata


class Part(Protocol):
    """Something domains have; found again at each start of the daemon."""

    async def recover(self, domid: int) -> None:
        """Find what an earlier life of this daemon gave a domain."""

    def forget(self, domid: int) -> None:
        """Take note that the domain is gone."""


class Vbds(Part, Protocol):
    """Block devices; errors as in the backend contract."""

    def stat(self, domid: int) -> Mapping[str, VbdStat]: ...

    def connected(self, domid: int) -> bool: ...

    async def plug(self, domid: int, vbd: Vbd, path: str) -> None: ...

    async def unplug(self, domid: int, device: str, *, force: bool) -> Disk | None: ...

    async def insert(self, domid: int, device: str, disk: Disk, path: str) -> None: ...

    async def eject(self, domid: int, device: str) -> Disk: ...

    async def moved(self, domid: int, device: str, disk: Disk) -> None: ...

    async def remove_all(self, domid: int) -> None: ...


class Vifs(Part, Protocol):
    """Network devices; errors as in the backend contract."""

    def stat(self, domid: int) -> Mapping[str, VifStat]: ...

    def connected(self, domid: int) -> bool: ...

    async def plug(self, domid: int, vif: Vif) -> None: ...

    async def unplug(self, domid: int, device: str, *, force: bool) -> None: ...

    async def update(self, domid: int, vif: Vif) -> None: ...

    async def remove_all(self, domid: int) -> None: ...


class Pcis(Part, Protocol):
    """PCI devices; errors as in the backend contract."""

    def stat(self, domid: int) -> Sequence[str]: ...

    async def plug(self, domid: int, pci: Passthrough) -> None: ...

    async def unplug(self, domid: int, device: str) -> None: ...

    async def remove_all(self, domid: int) -> None: ...


class Consoles(Part, Protocol):
    """Ways to see a guest."""

    def stat(self, domid: int) -> Sequence[Console]: ...

    async def start(self, domid: int, md: VmMetadata) -> None: ...

    async def stop(self, domid: int) -> None: ...

    async def open(self, domid: int, protocol: Literal["rfb", "vt100"]) -> Console: ...


class DeviceModel(Part, Protocol):
    """The emulated hardware of a guest."""

    async def start(self, domid: int, md: VmMetadata, *, restore: bool) -> None: ...

    async def stop(self, domid: int) -> None: ...

    async def unpaused(self, domid: int) -> None: ...

    async def resumed(self, domid: int) -> None: ...

    async def set_vcpus(self, domid: int, count: int) -> None: ...


class Images(Protocol):
    """Guests' memory in files."""

    async def save(self, domid: int, path: str) -> SavedMemory: ...

    async def restore(
        self, domid: int, vm: VmConfig, path: str, inline: Mapping[str, object]
    ) -> None: ...


class Migrations(Protocol):
    """Guests on their way to and from other hosts; errors as in the backend contract."""

    async def send(
        self, domid: int, address: str, hello: Mapping[str, Any], steps: SendSteps
    ) -> Migration: ...

    async def receive(
        self, vm: VmConfig, token: str, steps: ReceiveSteps, listening: Callable[[str], None]
    ) -> Migration: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them."""

    vbds: Vbds
    vifs: Vifs
    pcis: Pcis
    consoles: Consoles
    device_model: DeviceModel
    images: Images
    migrations: Migrations

    def of_domains(self) -> Sequence[Part]:
        """Give those that are found again and forgotten with their domain."""
        return (self.vbds, self.vifs, self.pcis, self.consoles, self.device_model)


class Absent:
    """A part this host does not have: nothing is there, and nothing can be had."""

    def __init__(self, what: str) -> None:
        self._what = what

    async def recover(self, domid: int) -> None:
        """There is nothing to find."""

    def forget(self, domid: int) -> None:
        """There is nothing to forget."""

    async def remove_all(self, domid: int) -> None:
        """There is nothing to remove."""

    async def stop(self, domid: int) -> None:
        """There is nothing to stop."""

    async def unpaused(self, domid: int) -> None:
        """There is nothing to tell."""

    async def resumed(self, domid: int) -> None:
        """There is nothing to tell."""

    async def set_vcpus(self, domid: int, count: int) -> None:
        """There is nothing to tell."""

    def connected(self, domid: int) -> bool:
        """Nothing is connected."""
        return False

    def _refused(self) -> Exception:
        return errors.unimplemented(self._what)


class NoVbds(Absent):
    """No block devices."""

    def stat(self, domid: int) -> Mapping[str, VbdStat]:
        return {}

    async def plug(self, domid: int, vbd: Vbd, path: str) -> None:
        raise self._refused()

    async def unplug(self, domid: int, device: str, *, force: bool) -> Disk | None:
        return None

    async def insert(self, domid: int, device: str, disk: Disk, path: str) -> None:
        raise self._refused()

    async def eject(self, domid: int, device: str) -> Disk:
        raise self._refused()

    async def moved(self, domid: int, device: str, disk: Disk) -> None:
        raise self._refused()


class NoVifs(Absent):
    """No network devices."""

    def stat(self, domid: int) -> Mapping[str, VifStat]:
        return {}

    async def plug(self, domid: int, vif: Vif) -> None:
        raise self._refused()

    async def unplug(self, domid: int, device: str, *, force: bool) -> None:
        """There is nothing to unplug."""

    async def update(self, domid: int, vif: Vif) -> None:
        raise self._refused()


class NoPcis(Absent):
    """No PCI devices."""

    def stat(self, domid: int) -> Sequence[str]:
        return ()

    async def plug(self, domid: int, pci: Passthrough) -> None:
        raise self._refused()

    async def unplug(self, domid: int, device: str) -> None:
        """There is nothing to unplug."""


class NoConsoles(Absent):
    """No way to see a guest."""

    def stat(self, domid: int) -> Sequence[Console]:
        return ()

    async def start(self, domid: int, md: VmMetadata) -> None:
        """There is nothing to start."""

    async def open(self, domid: int, protocol: Literal["rfb", "vt100"]) -> Console:
        raise errors.does_not_exist("console", protocol)


class NoDeviceModel(Absent):
    """No emulated hardware."""

    async def start(self, domid: int, md: VmMetadata, *, restore: bool) -> None:
        raise self._refused()


class NoImages(Absent):
    """Memory cannot be saved."""

    async def save(self, domid: int, path: str) -> SavedMemory:
        raise self._refused()

    async def restore(
        self, domid: int, vm: VmConfig, path: str, inline: Mapping[str, object]
    ) -> None:
        raise self._refused()


class NoMigrations(Absent):
    """Guests stay where they are."""

    async def send(
        self, domid: int, address: str, hello: Mapping[str, Any], steps: SendSteps
    ) -> Migration:
        raise self._refused()

    async def receive(
        self, vm: VmConfig, token: str, steps: ReceiveSteps, listening: Callable[[str], None]
    ) -> Migration:
        raise self._refused()


def none() -> Parts:
    """Give parts of a host on which domains have nothing but processors and memory."""
    return Parts(
        NoVbds("block devices"),
        NoVifs("network devices"),
        NoPcis("PCI devices"),
        NoConsoles("consoles"),
        NoDeviceModel("emulated hardware"),
        NoImages("suspend images"),
        NoMigrations("migration"),
    )
