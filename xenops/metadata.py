"""What the API server tells about a VM: immutable values, checked on entry.

Sizes are in bytes.  A device is named by its Linux name (VBD: ``xvda``) or its
number as text (VIF: ``0``), unique within the VM.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from xapi_py.base.config import ConfigError, build
from xenops import errors

T = TypeVar("T")

Action = Literal["Shutdown", "Start", "Pause", "Coredump", "Softreboot"]
DomainType = Literal["HVM", "PV", "PVinPVH", "PVH"]


@dataclass(frozen=True, slots=True)
class HvmOptions:
    """What only guests with emulated hardware have; ``video_mib`` is in MiB."""

    shadow_multiplier: float = 1.0
    timeoffset: str = "0"
    video_mib: int = 4
    video: str = "Cirrus"
    acpi: bool = True
    serial: str | None = "pty"
    keymap: str | None = None
    boot_order: str = "cd"
    firmware: str = "bios"


@dataclass(frozen=True, slots=True)
class PvOptions:
    """How a paravirtual guest boots: ``kernel`` when direct, else the loader."""

    direct: bool = False
    kernel: str = ""
    cmdline: str = ""
    ramdisk: str | None = None
    bootloader: str = "pygrub"
    extra_args: str = ""
    legacy_args: str = ""
    bootloader_args: str = ""
    devices: tuple[str, ...] = ()
    vncterm: bool = True
    pci_passthrough: bool = False


@dataclass(frozen=True, slots=True)
class SchedulerParams:
    """Credit scheduler weight (1..65535), cap (percent, 0 none) and CPU masks."""

    weight: int = 256
    cap: int = 0
    affinity: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class VmConfig:
    """The VM itself, as it is to be at its next start."""

    id: str
    memory_static_max: int
    memory_dynamic_max: int
    memory_dynamic_min: int
    vcpu_max: int
    vcpus: int
    name: str = ""
    ty: DomainType = "HVM"
    hvm: HvmOptions = HvmOptions()
    pv: PvOptions = PvOptions()
    xsdata: Mapping[str, str] = field(default_factory=dict)
    platformdata: Mapping[str, str] = field(default_factory=dict)
    bios_strings: Mapping[str, str] = field(default_factory=dict)
    scheduler_params: SchedulerParams = SchedulerParams()
    on_crash: tuple[Action, ...] = ("Start",)
    on_shutdown: tuple[Action, ...] = ("Shutdown",)
    on_reboot: tuple[Action, ...] = ("Start",)
    on_softreboot: tuple[Action, ...] = ("Softreboot",)
    pci_msitranslate: bool = True
    has_vendor_device: bool = False
    generation_id: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.vcpus <= self.vcpu_max:
            raise ValueError("vcpus must be between 1 and vcpu_max")
        if not 0 < self.memory_dynamic_min <= self.memory_dynamic_max <= self.memory_static_max:
            raise ValueError("memory sizes are not in order")

    @property
    def is_hvm(self) -> bool:
        """Whether the guest sees emulated hardware."""
        return self.ty == "HVM"

    @property
    def shadow_multiplier(self) -> float:
        """The factor on shadow memory; paravirtual guests have none."""
        return 1.0 if self.ty == "PV" else self.hvm.shadow_multiplier


@dataclass(frozen=True, slots=True)
class Disk:
    """What a VBD is backed by: a VDI of the storage daemon, or a local path."""

    sr: str = ""
    vdi: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        if not self.path and not (self.sr and self.vdi):
            raise ValueError("a disk needs sr and vdi, or path")


@dataclass(frozen=True, slots=True)
class Vbd:
    """A block device; ``backend`` is None for an empty drive."""

    device: str
    mode: Literal["RW", "RO"] = "RW"
    ty: Literal["Disk", "CDROM", "Floppy"] = "Disk"
    backend: Disk | None = None
    unpluggable: bool = True
    persistent: bool = True
    extra_backend_keys: Mapping[str, str] = field(default_factory=dict)
    extra_private_keys: Mapping[str, str] = field(default_factory=dict)
    qos: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vif:
    """A network device; ``rate_kbps`` is in KiB per second, 0 for no limit.

    ``trunks`` are the VLANs it carries, none for all.
    """

    device: str
    mac: str
    bridge: str
    mtu: int = 1500
    carrier: bool = True
    rate_kbps: int = 0
    rate_timeslice_us: int = 50_000
    locking_mode: Literal["network_default", "unlocked", "locked", "disabled"] = "network_default"
    ipv4_allowed: tuple[str, ...] = ()
    ipv6_allowed: tuple[str, ...] = ()
    trunks: tuple[int, ...] = ()
    other_config: Mapping[str, str] = field(default_factory=dict)
    extra_private_keys: Mapping[str, str] = field(default_factory=dict)
    static_ip: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passthrough:
    """A PCI function, virtual GPU or USB device given to the VM."""

    device: str
    address: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VmMetadata:
    """A VM with its devices, in the order in which they are plugged.

    ``domains`` is the daemon's own text, given out by VM.export_metadata when
    the VM was suspended and given back for its resume.
    """

    vm: VmConfig
    vbds: tuple[Vbd, ...] = ()
    vifs: tuple[Vif, ...] = ()
    pcis: tuple[Passthrough, ...] = ()
    vgpus: tuple[Passthrough, ...] = ()
    vusbs: tuple[Passthrough, ...] = ()
    domains: str | None = None

    def __post_init__(self) -> None:
        for kind in ("vbds", "vifs", "pcis", "vgpus", "vusbs"):
            devices = [item.device for item in getattr(self, kind)]
            if len(set(devices)) != len(devices):
                raise ValueError(f"{kind}: a device occurs twice")

    def vbd(self, device: str) -> Vbd:
        """Errors: Does_not_exist."""
        for vbd in self.vbds:
            if vbd.device == device:
                return vbd
        raise errors.does_not_exist("VBD", device)

    def vif(self, device: str) -> Vif:
        """Errors: Does_not_exist."""
        for vif in self.vifs:
            if vif.device == device:
                return vif
        raise errors.does_not_exist("VIF", device)

    def pci(self, device: str) -> Passthrough:
        """Errors: Does_not_exist."""
        for pci in self.pcis:
            if pci.device == device:
                return pci
        raise errors.does_not_exist("PCI", device)

    def with_vbd(self, vbd: Vbd) -> "VmMetadata":
        """Add a VBD, or replace the one of the same device."""
        others = tuple(v for v in self.vbds if v.device != vbd.device)
        return dataclasses.replace(self, vbds=(*others, vbd))

    def with_vif(self, vif: Vif) -> "VmMetadata":
        """Add a VIF, or replace the one of the same device."""
        others = tuple(v for v in self.vifs if v.device != vif.device)
        return dataclasses.replace(self, vifs=(*others, vif))

    def with_pci(self, pci: Passthrough) -> "VmMetadata":
        """Add a PCI device, or replace the one of the same name."""
        others = tuple(p for p in self.pcis if p.device != pci.device)
        return dataclasses.replace(self, pcis=(*others, pci))


def parse(data: object) -> VmMetadata:
    """Read what the API server sent.

    Errors: Invalid_metadata with the name of the first member that does not fit.
    """
    return _parse(data, VmMetadata, "metadata")


def parse_vbd(data: object) -> Vbd:
    """Read one VBD; errors as for ``parse``."""
    return _parse(data, Vbd, "vbd")


def parse_vif(data: object) -> Vif:
    """Read one VIF; errors as for ``parse``."""
    return _parse(data, Vif, "vif")


def parse_disk(data: object) -> Disk:
    """Read the backing of a VBD; errors as for ``parse``."""
    return _parse(data, Disk, "disk")


def parse_pci(data: object) -> Passthrough:
    """Read one PCI device; errors as for ``parse``."""
    return _parse(data, Passthrough, "pci")


def _parse(data: object, into: type[T], where: str) -> T:
    try:
        return build(data, into, where)
    except ConfigError as error:
        raise errors.invalid_metadata(str(error)) from error


def changed_vif(vif: Vif, changes: Mapping[str, object]) -> Vif:
    """Give a VIF with some members replaced, checked as when parsed."""
    return parse_vif(dataclasses.asdict(vif) | dict(changes))


def to_dict(metadata: VmMetadata) -> dict[str, object]:
    """Give the value that ``parse`` reads back as equal metadata."""
    return dataclasses.asdict(metadata)
