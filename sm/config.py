"""Configuration of the storage daemon: the ``sm`` and ``array`` sections."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from xapi_py.base import simulator_config
from xapi_py.base.config import build

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class FaultConfig:
    """A failure to inject: at ``method``, ``count`` times (0: always), after ``skip`` calls.

    ``kind`` says what happens: the call fails with ``error`` (a name and
    parameters), hangs until its deadline, or the process is killed before or
    after the commit of the operation's metadata.  ``match`` compares call parameters.
    """

    method: str
    kind: Literal["error", "hang", "crash_before_commit", "crash_after_commit"] = "error"
    error: tuple[str, ...] = ("Storage_backend_error", "SR_BACKEND_FAILURE_200", "", "EIO", "")
    count: int = 1
    skip: int = 0
    match: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SmConfig:
    """The ``sm`` section.

    ``plugins`` limits the SR types offered (all of the profile when empty);
    ``latencies_s`` maps a method name, or ``*``, to seconds added to each call;
    ``gc_delay_s`` is how long after a delete unused parents are collected;
    ``real`` are SR types kept on real files and servers beside the simulated ones,
    ``driver_timeout_s`` how long one call of these may take.  ``smapiv1_folder`` and
    ``smapiv3_folder`` hold drivers of others, "" for none; ``api_socket`` is the
    toolstack's socket, which these call back, beside the daemon's folder by default.
    """

    profile: Literal["7.1", "newest"] = "7.1"
    host_uuid: str = ""
    initiator_iqn: str = "iqn.2026-01.org.example:host"
    plugins: tuple[str, ...] = ()
    latencies_s: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[FaultConfig, ...] = ()
    gc_delay_s: float = 1.0
    real: tuple[str, ...] = ()
    driver_timeout_s: float = 60.0
    smapiv1_folder: str = ""
    smapiv3_folder: str = ""
    api_socket: str = ""


@dataclass(frozen=True, slots=True)
class LunConfig:
    """A LUN; ``scsi_id`` and ``serial`` are made up from the position when empty."""

    id: int
    size_bytes: int = 100 * GIB
    vendor: str = "XAPIPY"
    serial: str = ""
    scsi_id: str = ""
    paths: int = 1


@dataclass(frozen=True, slots=True)
class IscsiTargetConfig:
    """An iSCSI target: ``portals`` are ``address`` or ``address:port``.

    With ``chap_user`` set, log-in needs the user and password;
    ``discovery_chap`` asks for them in discovery already.
    """

    iqn: str
    portals: tuple[str, ...]
    luns: tuple[LunConfig, ...] = ()
    chap_user: str = ""
    chap_password: str = ""
    discovery_chap: bool = False
    incoming_chap_user: str = ""
    incoming_chap_password: str = ""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """A disc image in a library."""

    name: str
    size_bytes: int = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """A folder an NFS server exports; ``images`` make it an ISO library."""

    path: str
    size_bytes: int = 500 * GIB
    read_only: bool = False
    access: str = "*"
    images: tuple[ImageConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class NfsServerConfig:
    """An NFS server; ``down`` refuses connections, ``versions`` are protocol versions."""

    address: str
    exports: tuple[ExportConfig, ...] = ()
    versions: tuple[str, ...] = ("3", "4")
    down: bool = False


@dataclass(frozen=True, slots=True)
class ShareConfig:
    """A share of an SMB server; anyone may use it while ``username`` is empty."""

    name: str
    size_bytes: int = 500 * GIB
    username: str = ""
    password: str = ""
    read_only: bool = False
    images: tuple[ImageConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class SmbServerConfig:
    """An SMB server."""

    address: str
    shares: tuple[ShareConfig, ...] = ()
    down: bool = False


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """A host bus adapter and the LUNs it sees; ``eth`` is the NIC of an FCoE one."""

    host: str
    kind: Literal["fc", "fcoe", "sas"] = "fc"
    name: str = "qla2xxx"
    manufacturer: str = "QLogic"
    port_name: str = ""
    node_name: str = ""
    eth: str = ""
    luns: tuple[LunConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskConfig:
    """A disk or partition of the host itself; ``root`` marks the host's own system disk."""

    device: str
    size_bytes: int = 200 * GIB
    root: bool = False


@dataclass(frozen=True, slots=True)
class DriveConfig:
    """A drive with removable media; ``disc`` is empty while there is none."""

    device: str
    kind: Literal["cd", "block"] = "cd"
    disc: str = ""
    size_bytes: int = 700 * 1024**2
    hotplugged_at: str = ""


@dataclass(frozen=True, slots=True)
class FolderConfig:
    """A folder of the host with disc images, or an empty one for file SRs."""

    path: str
    size_bytes: int = 50 * GIB
    images: tuple[ImageConfig, ...] = ()
    tools: bool = False


def _default_iscsi() -> tuple[IscsiTargetConfig, ...]:
    luns = (LunConfig(0), LunConfig(1, 200 * GIB))
    return (
        IscsiTargetConfig(
            "iqn.2026-01.org.example:storage.open", ("192.0.2.10", "192.0.2.11"), luns
        ),
        IscsiTargetConfig(
            "iqn.2026-01.org.example:storage.chap",
            ("192.0.2.10",),
            (LunConfig(0),),
            chap_user="alice",
            chap_password="secretsecret12",
        ),
    )


def _default_nfs() -> tuple[NfsServerConfig, ...]:
    isos = (ImageConfig("debian-12.iso", 650 * 1024**2), ImageConfig("rescue.iso"))
    exports = (ExportConfig("/export/vms"), ExportConfig("/export/iso", 100 * GIB, images=isos))
    return (NfsServerConfig("192.0.2.20", exports),)


def _default_smb() -> tuple[SmbServerConfig, ...]:
    isos = (ImageConfig("windows.iso", 4 * GIB),)
    shares = (
        ShareConfig("vms", username="alice", password="secret"),
        ShareConfig("iso", 100 * GIB, images=isos),
    )
    return (SmbServerConfig("192.0.2.30", shares),)


def _default_adapters() -> tuple[AdapterConfig, ...]:
    return (
        AdapterConfig("host3", luns=(LunConfig(0, 300 * GIB, paths=2), LunConfig(1, 300 * GIB))),
        AdapterConfig("host5", "fcoe", "bnx2fc", "Broadcom", eth="eth2", luns=(LunConfig(0),)),
    )


def _default_disks() -> tuple[DiskConfig, ...]:
    return (
        DiskConfig("/dev/sda", root=True),
        DiskConfig("/dev/sda3"),
        DiskConfig("/dev/sdb"),
        DiskConfig("/dev/sdc"),
    )


def _default_folders() -> tuple[FolderConfig, ...]:
    tools = FolderConfig(
        "/opt/xensource/packages/iso", images=(ImageConfig("xs-tools.iso"),), tools=True
    )
    return (tools, FolderConfig("/var/opt/xen/iso_import"), FolderConfig("/var/run/sr-mount/file"))


@dataclass(frozen=True, slots=True)
class ArrayConfig:
    """The ``array`` section: the storage that simulated hosts can reach.

    ``folder`` keeps the content of shared storage and must be the same for
    all hosts of a pool; when empty each host has an own array.  ``names``
    maps host names to addresses; a name that is in none of the sections does
    not resolve, an address that is in none does not answer.
    """

    folder: str = ""
    names: Mapping[str, str] = field(default_factory=lambda: {"storage.example": "192.0.2.10"})
    iscsi_targets: tuple[IscsiTargetConfig, ...] = field(default_factory=_default_iscsi)
    nfs_servers: tuple[NfsServerConfig, ...] = field(default_factory=_default_nfs)
    smb_servers: tuple[SmbServerConfig, ...] = field(default_factory=_default_smb)
    adapters: tuple[AdapterConfig, ...] = field(default_factory=_default_adapters)
    disks: tuple[DiskConfig, ...] = field(default_factory=_default_disks)
    drives: tuple[DriveConfig, ...] = (DriveConfig("/dev/sr0"),)
    folders: tuple[FolderConfig, ...] = field(default_factory=_default_folders)
    smb_licensed: bool = True


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Everything the storage daemon reads from the configuration file."""

    sm: SmConfig = field(default_factory=SmConfig)
    array: ArrayConfig = field(default_factory=ArrayConfig)


def load(path: Path | None, host: int) -> StorageConfig:
    """Read the storage sections of the simulator's YAML for host ``host``, from 1.

    A bare host sees no storage at all.
    Errors: ConfigError names the member that does not fit.
    """
    whole = simulator_config.load(path)
    described = whole.host(host)
    sm = build(dict(described.sm), SmConfig, "sm")
    array = build(dict(whole.array), ArrayConfig, "array")
    if whole.bare:
        array = ArrayConfig(array.folder, {}, (), (), (), (), (), (), ())
    if not sm.host_uuid:
        sm = replace(sm, host_uuid=described.uuid)
    return StorageConfig(sm, array)
