"""What a storage driver must provide: the contract of all backends.

A ``Driver`` answers for one SR type; ``attach`` gives an ``AttachedSr`` that
carries out everything on that SR.  Drivers raise ``RpcError`` values made by
``sm.errors``.  They never see two metadata operations of one SR at a time
unless ``AttachedSr.concurrency`` allows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sm.plugins import Plugin

Config = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Vdi:
    """A disk as its SR describes it; also the RPC form, member by member.

    ``uuid`` names it everywhere, ``location`` is the driver's own name for
    it.  Sizes are bytes; ``snapshot_time`` is unix seconds UTC, 0 when it is
    no snapshot; ``parent`` is the uuid of the hidden or visible VDI it was
    derived from, or empty; ``persistent`` False means "reset on boot".
    """

    uuid: str
    location: str = ""
    name_label: str = ""
    name_description: str = ""
    type: str = "user"
    sharable: bool = False
    read_only: bool = False
    managed: bool = True
    missing: bool = False
    virtual_size: int = 0
    physical_utilisation: int = 0
    cbt_enabled: bool = False
    is_a_snapshot: bool = False
    snapshot_of: str = ""
    snapshot_time: int = 0
    metadata_of_pool: str = ""
    persistent: bool = True
    content_id: str = ""
    parent: str = ""
    sm_config: Config = field(default_factory=dict)
    xenstore_data: Config = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VdiSpec:
    """What the caller decides about a VDI to be made; empty ``uuid``: a new one."""

    uuid: str = ""
    name_label: str = ""
    name_description: str = ""
    type: str = "user"
    virtual_size: int = 0
    sharable: bool = False
    read_only: bool = False
    is_a_snapshot: bool = False
    snapshot_of: str = ""
    snapshot_time: int = 0
    metadata_of_pool: str = ""
    persistent: bool = True
    sm_config: Config = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SrStat:
    """Space and state of an attached SR, sizes in bytes.

    ``generation`` grows with every change of the SR's metadata by any host.
    """

    uuid: str
    type: str
    name_label: str
    name_description: str
    physical_size: int
    physical_utilisation: int
    virtual_allocation: int
    sm_config: Config
    generation: int
    clustered: bool = False
    health: str = "healthy"

    def to_wire(self) -> dict[str, object]:
        """Give the record as the RPC carries it."""
        return {
            "uuid": self.uuid,
            "type": self.type,
            "name_label": self.name_label,
            "name_description": self.name_description,
            "physical_size": self.physical_size,
            "physical_utilisation": self.physical_utilisation,
            "virtual_allocation": self.virtual_allocation,
            "total_space": self.physical_size,
            "free_space": max(0, self.physical_size - self.physical_utilisation),
            "sm_config": dict(self.sm_config),
            "generation": self.generation,
            "clustered": self.clustered,
            "health": self.health,
        }


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One finding of ``probe_ext``."""

    configuration: Config
    complete: bool
    sr: SrStat | None = None
    extra_info: Config = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backend:
    """How a domain's disk reaches a VDI: parameters of the block device.

    ``params`` goes into the device's backend, ``path`` is what the control
    domain itself may open, or empty; ``uri`` is an NBD export.
    """

    backend_type: str
    params: str
    path: str
    extra: Config = field(default_factory=dict)
    uri: str = ""

    def to_wire(self) -> list[list[object]]:
        """Give the list of implementations: XenDisk, then Nbd, File or BlockDevice."""
        disk = {
            "params": self.params,
            "extra": dict(self.extra),
            "backend_type": self.backend_type,
        }
        found: list[list[object]] = [["XenDisk", disk]]
        if self.uri:
            found.append(["Nbd", {"uri": self.uri}])
        elif self.path.startswith("/dev/"):
            found.append(["BlockDevice", {"path": self.path}])
        elif self.path:
            found.append(["File", {"path": self.path, "format": "raw"}])
        return found


def nbd_backend(socket: str, vdi: str, sr_type: str, export: str = "") -> Backend:
    """Describe a disk that is served at a unix socket, as an export named by its uuid.

    ``export``: another name, of a disk that came from another SR while it was in use.
    """
    export = export or vdi
    extra = {"vdi-uuid": vdi, "storage-type": sr_type}
    uri = f"nbd+unix:///{export}?socket={socket}"
    return Backend("qdisk", f"nbd:unix:{socket}:exportname={export}", "", extra, uri)


@dataclass(frozen=True, slots=True)
class Access:
    """Where a process of this host reaches a disk's data: a raw file, an NBD export, or images.

    ``images``, the disk's own first: ``path``, ``size`` of the disk in bytes,
    ``cluster_bits``, ``l1_offset`` and ``l1_entries``; a raw one has 0 for these.
    ``blank``: it reads as zeros.  ``depth``: how many images lie above those
    shared with the disk asked about, -1 when nothing is known to be shared.
    """

    path: str = ""
    socket: str = ""
    export: str = ""
    blank: bool = False
    depth: int = -1
    images: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """Data to copy: an image file, or only the number of bytes it stands for.

    ``format`` other than raw is given only to who asked for it.
    """

    path: str
    data_bytes: int
    format: str = "raw"


Extents = Sequence[tuple[int, int]]
"""Pairs of offset and length in bytes."""


class Notify(Protocol):
    """Called with kind and ids of an object once its change is durable."""

    def __call__(self, *identifier: str) -> object: ...


class AttachedSr(Protocol):
    """Operations on one attached SR.

    Changes are durable when a method returns; a process killed in the middle
    of one leaves the state before or after it.  Unknown VDIs raise
    ``Vdi_does_not_exist``.  Datapath calls need no durability against loss of
    power: an active datapath does not survive that either.
    """

    uuid: str
    plugin: Plugin
    concurrency: int
    reads_images: bool
    """Whether ``vdi_fill`` takes images in formats other than raw."""

    async def detach(self) -> None: ...

    async def destroy(self) -> None:
        """Erase the SR; SR_NOT_EMPTY while it holds managed VDIs."""

    async def stat(self) -> SrStat: ...

    async def set_name(self, name_label: str | None, name_description: str | None) -> None: ...

    async def scan(self) -> list[Vdi]:
        """Give all VDIs, hidden ones included, after a look at the real content."""

    async def vdi_stat(self, vdi: str) -> Vdi: ...

    async def vdi_create(self, spec: VdiSpec) -> Vdi: ...

    async def vdi_introduce(self, vdi: str, location: str, sm_config: Config) -> Vdi: ...

    async def vdi_destroy(self, vdi: str) -> None: ...

    async def vdi_snapshot(self, vdi: str, spec: VdiSpec) -> Vdi: ...

    async def vdi_clone(self, vdi: str, spec: VdiSpec) -> Vdi: ...

    async def vdi_revert(self, vdi: str, snapshot: str) -> Vdi: ...

    async def vdi_resize(self, vdi: str, virtual_size: int) -> Vdi: ...

    async def vdi_set(self, vdi: str, changes: Mapping[str, object]) -> Vdi:
        """Change members the caller owns: names, sharable, read_only, persistent, sm_config..."""

    async def vdi_enable_cbt(self, vdi: str) -> Vdi: ...

    async def vdi_disable_cbt(self, vdi: str) -> Vdi: ...

    async def vdi_data_destroy(self, vdi: str) -> Vdi: ...

    async def vdi_list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str: ...

    async def vdi_epoch_begin(self, vdi: str, persistent: bool) -> None:
        """A VM is about to start: throw away what a reset-on-boot disk was written."""

    async def vdi_compose(self, parent: str, child: str) -> None: ...

    async def vdi_path(self, vdi: str, writable: bool) -> str:
        """Give a raw file with the disk's content; it exists when this returns."""

    async def vdi_open(self, vdi: str, mode: str, base: str, images: bool = False) -> Access:
        """Open a disk for a process of this host, which closes it.

        ``mode`` "read"; "amend" to write on top of what it holds; "replace" to
        write all of it.  ``base``: a disk to tell ``depth`` for, or "".
        ``images``: the reader can read image files, which it has to lock.
        """

    async def vdi_close(self, vdi: str, mode: str, commit: bool, extents: Extents) -> Vdi:
        """End what ``vdi_open`` began.  Without ``commit`` what was written need not stay."""

    async def vdi_content(self, vdi: str, image: bool = False) -> Content:
        """Give a disk's data for ``vdi_fill``; with ``image`` in the disk's own format."""

    async def vdi_copied(self, vdi: str) -> None:
        """Let a disk go whose content was given out."""

    async def vdi_fill(self, vdi: str, content: Content) -> Vdi: ...

    def vdi_progress(self, vdi: str) -> float:
        """How much of a disk that is being filled is there, 0..1; 0 when that is not known."""

    async def vdi_note_written(self, vdi: str, extents: Extents, simulated: bool) -> Vdi:
        """Account for data written to ``vdi_path``, or pretended to be written."""

    async def vdi_holders(self, vdi: str) -> list[Mapping[str, str]]:
        """Say who uses a disk besides this host's data paths: ``kind``, ``who``, ``why``."""

    async def collect_garbage(self) -> None: ...

    def stop_collecting(self, why: str) -> None:
        """Let ``collect_garbage`` end soon."""

    def garbage_report(self) -> Mapping[str, object]:
        """What collecting does now and did last: running, progress, done, skipped."""

    async def vdi_attach(self, vdi: str, read_write: bool) -> Backend: ...

    async def vdi_activate(self, vdi: str, read_write: bool) -> None:
        """Take the lock that keeps two hosts from writing; Activated_on_another_host."""

    async def vdi_deactivate(self, vdi: str) -> None: ...

    async def vdi_detach(self, vdi: str) -> None: ...

    async def release_locks(self, host_uuid: str) -> None:
        """Drop what a dead host held."""


@runtime_checkable
class Mirrors(Protocol):
    """An attached SR whose disks move to others of its kind, and come from them, while in use.

    ``mirror_receive`` makes a disk that is partial until ``mirror_adopt``, and
    gives its image for ``mirror_begin`` of the SR the disk leaves.  Once
    ``mirror_state`` says "ready", every write of the guest is in both images.
    ``mirror_switch`` gives the backend process to ``mirror_adopt``; then
    ``mirror_release`` lets it go.
    """

    async def mirror_receive(self, spec: VdiSpec) -> Mapping[str, str]: ...

    async def mirror_begin(self, vdi: str, image: Mapping[str, str]) -> None: ...

    async def mirror_state(self, vdi: str) -> tuple[str, float]: ...

    async def mirror_switch(self, vdi: str) -> Mapping[str, str]: ...

    async def mirror_adopt(self, vdi: str, backend: Mapping[str, str], writable: bool) -> Vdi: ...

    async def mirror_release(self, vdi: str) -> None: ...

    async def mirror_cancel(self, vdi: str) -> None: ...

    async def mirror_give_up(self, vdi: str) -> None:
        """Delete a partial disk; one that is complete stays."""

    async def mirror_image(self, vdi: str) -> str:
        """Path of a partial disk's image."""

    async def mirror_switched(self, vdi: str, path: str) -> Mapping[str, str] | None:
        """After a crash: the backend of a disk that uses this image already, else None."""


class Driver(Protocol):
    """An SR type."""

    @property
    def plugin(self) -> Plugin: ...

    async def create(
        self,
        sr: str,
        device_config: Config,
        sm_config: Config,
        name_label: str,
        name_description: str,
        physical_size: int,
    ) -> tuple[Config, Config]:
        """Make the SR on its medium; gives the device_config and sm_config to store."""

    async def attach(self, sr: str, device_config: Config, sm_config: Config) -> AttachedSr: ...

    async def probe(self, device_config: Config, sm_config: Config) -> str: ...

    async def probe_ext(self, device_config: Config, sm_config: Config) -> list[ProbeResult]: ...
