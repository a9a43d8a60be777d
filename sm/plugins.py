"""What the storage plugins say about themselves, per profile.

Source: facts/sm_plugins.yaml; the rules that turn a driver's list of
capabilities into features are those of briefs, storage section 1.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

Profile = Literal["7.1", "newest"]

KNOWN_FEATURES: Final = frozenset(
    [
        "SR_CREATE",
        "SR_DELETE",
        "SR_ATTACH",
        "SR_DETACH",
        "SR_SCAN",
        "SR_PROBE",
        "SR_UPDATE",
        "SR_SUPPORTS_LOCAL_CACHING",
        "SR_METADATA",
        "SR_TRIM",
        "SR_MULTIPATH",
        "SR_CACHING",
        "SR_STATS",
        "VDI_CREATE",
        "VDI_DELETE",
        "VDI_ATTACH",
        "VDI_DETACH",
        "VDI_MIRROR",
        "VDI_MIRROR_IN",
        "VDI_RESIZE",
        "VDI_RESIZE_ONLINE",
        "VDI_CLONE",
        "VDI_SNAPSHOT",
        "VDI_ACTIVATE",
        "VDI_ACTIVATE_READONLY",
        "VDI_DEACTIVATE",
        "VDI_UPDATE",
        "VDI_INTRODUCE",
        "VDI_GENERATE_CONFIG",
        "VDI_ATTACH_OFFLINE",
        "VDI_RESET_ON_BOOT",
        "VDI_CONFIG_CBT",
        "VDI_COMPOSE",
        "LARGE_VDI",
        "THIN_PROVISIONING",
        "VDI_READ_CACHING",
        "VDI_REVERT",
    ]
)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One storage plugin: the content of an SM record.

    ``features`` maps a name to its version; ``configuration`` maps each
    device_config key to a sentence that describes it.
    """

    type: str
    name_label: str
    name_description: str
    vendor: str
    required_api_version: str
    features: Mapping[str, int]
    configuration: Mapping[str, str]
    driver_filename: str
    copyright: str = "(C) 2008 Citrix Systems Inc"
    version: str = "1.0"
    required_cluster_stack: tuple[str, ...] = ()
    supported_image_formats: tuple[str, ...] = ()

    def supports(self, feature: str) -> bool:
        """Tell whether the plugin lists a feature, in any version."""
        return feature in self.features

    def to_wire(self) -> dict[str, object]:
        """Give the record as the RPC carries it."""
        return {
            "type": self.type,
            "name_label": self.name_label,
            "name_description": self.name_description,
            "vendor": self.vendor,
            "copyright": self.copyright,
            "version": self.version,
            "required_api_version": self.required_api_version,
            "features": dict(self.features),
            "capabilities": list(self.features),
            "configuration": dict(self.configuration),
            "driver_filename": self.driver_filename,
            "required_cluster_stack": list(self.required_cluster_stack),
            "supported_image_formats": list(self.supported_image_formats),
        }


def parse_features(capabilities: tuple[str, ...]) -> dict[str, int]:
    """Turn a driver's capability strings into features with versions.

    Unknown names are dropped, a version that is no positive number counts as
    1, the first of duplicates wins, and ATOMIC_PAUSE stands for the pair of
    activation features.
    """
    found: dict[str, int] = {}
    for text in capabilities:
        name, _, version = text.partition("/")
        number = int(version) if version.isdigit() and int(version) > 0 else 1
        if name in KNOWN_FEATURES:
            found.setdefault(name, number)
    if "ATOMIC_PAUSE" in capabilities:
        found.setdefault("VDI_ACTIVATE", 1)
        found.setdefault("VDI_DEACTIVATE", 1)
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    """A plugin's row in the table below; capability words as one text."""

    driver: str
    type: str
    name: str
    description: str
    base: str
    newer: str
    keys: str
    api: str = "1.0"
    vendor: str = "Citrix Systems Inc"
    profiles: tuple[Profile, ...] = ("7.1", "newest")
    newer_keys: str = ""


_DISKS = (
    "VDI_CREATE VDI_DELETE VDI_ATTACH VDI_DETACH VDI_CLONE VDI_SNAPSHOT VDI_RESIZE VDI_MIRROR "
    "ATOMIC_PAUSE"
)
_FILE = f"SR_PROBE SR_UPDATE {_DISKS} VDI_GENERATE_CONFIG"
_MOUNTED = f"{_FILE} VDI_UPDATE VDI_RESET_ON_BOOT/2"
_LVM = f"SR_PROBE SR_UPDATE SR_TRIM {_DISKS} VDI_RESET_ON_BOOT/2 VDI_UPDATE"
_LVM_SHARED = f"{_LVM} SR_METADATA VDI_GENERATE_CONFIG"
_NEWER_LVM = "VDI_CONFIG_CBT VDI_ACTIVATE VDI_DEACTIVATE"
_NEWER_FILE = f"{_NEWER_LVM} THIN_PROVISIONING"
_NEWER_MOUNTED = f"{_NEWER_FILE} VDI_READ_CACHING"
_LUN_PER_VDI = "SR_PROBE VDI_CREATE VDI_DELETE VDI_ATTACH VDI_DETACH VDI_INTRODUCE"
_ISCSI_KEYS = (
    "target targetIQN chapuser chappassword incoming_chapuser incoming_chappassword port multihomed"
)

_TABLE: Final = (
    _Entry(
        "Dummy",
        "dummy",
        "dummy",
        "SR plugin that keeps no data, for tests",
        "SR_PROBE VDI_CREATE VDI_DELETE VDI_ATTACH VDI_DETACH VDI_ACTIVATE VDI_DEACTIVATE "
        "VDI_CLONE VDI_SNAPSHOT VDI_RESIZE VDI_INTRODUCE VDI_MIRROR",
        "",
        "",
        api="1.1",
    ),
    _Entry(
        "EXT",
        "ext",
        "Local EXT3 VHD",
        "SR plugin which keeps disks as VHD files on a local file system",
        f"{_MOUNTED} SR_SUPPORTS_LOCAL_CACHING",
        _NEWER_MOUNTED,
        "device",
    ),
    _Entry(
        "File",
        "file",
        "Local Path VHD",
        "SR plugin which keeps disks as VHD files in a folder of the host",
        _FILE,
        _NEWER_FILE,
        "location",
    ),
    _Entry(
        "HBA",
        "hba",
        "HBA LUN-per-VDI driver",
        "SR plugin which offers each LUN of the host bus adapters as a disk",
        _LUN_PER_VDI,
        "",
        "type",
    ),
    _Entry(
        "ISO",
        "iso",
        "ISO",
        "SR plugin which offers the disc images of a folder or share",
        "VDI_CREATE VDI_DELETE VDI_ATTACH VDI_DETACH SR_SCAN SR_ATTACH SR_DETACH",
        "",
        "location options type nfsversion",
        newer_keys="vers username cifspassword_secret cifspassword",
    ),
    _Entry(
        "LVM",
        "lvm",
        "Local VHD on LVM",
        "SR plugin which keeps disks as VHDs in logical volumes of local disks",
        _LVM,
        _NEWER_LVM,
        "device",
        vendor="XenSource Inc",
    ),
    _Entry(
        "LVMoFCoE",
        "lvmofcoe",
        "LVHD over FCoE",
        "SR plugin which keeps disks as VHDs in logical volumes of an FCoE LUN",
        _LVM_SHARED,
        "",
        "SCSIid allocation",
        profiles=("7.1",),
    ),
    _Entry(
        "LVMoHBA",
        "lvmohba",
        "LVHD over FC",
        "SR plugin which keeps disks as VHDs in logical volumes of an HBA LUN",
        _LVM_SHARED,
        f"{_NEWER_LVM} SR_CACHING",
        "SCSIid allocation",
    ),
    _Entry(
        "LVMoISCSI",
        "lvmoiscsi",
        "LVHD over iSCSI",
        "SR plugin which keeps disks as VHDs in logical volumes of an iSCSI LUN",
        _LVM_SHARED,
        f"{_NEWER_LVM} SR_CACHING",
        f"SCSIid {_ISCSI_KEYS} usediscoverynumber allocation",
    ),
    _Entry(
        "NFS",
        "nfs",
        "NFS VHD",
        "SR plugin which keeps disks as VHD files on an NFS server",
        f"{_MOUNTED} SR_CACHING",
        _NEWER_MOUNTED,
        "server serverpath nfsversion",
    ),
    _Entry(
        "RawHBA",
        "rawhba",
        "RawHBA LUN-per-VDI driver",
        "SR plugin which offers each LUN of the host bus adapters as a disk",
        "SR_PROBE VDI_ATTACH VDI_DETACH VDI_DELETE",
        "",
        "type",
        profiles=("7.1",),
    ),
    _Entry(
        "ISCSI",
        "iscsi",
        "iSCSI",
        "SR plugin which offers each LUN of an iSCSI target as a disk",
        _LUN_PER_VDI,
        "",
        f"{_ISCSI_KEYS} force_tapdisk",
    ),
    _Entry(
        "SHM",
        "shm",
        "SHM",
        "SR plugin which offers the images of a shared memory folder",
        "VDI_ATTACH VDI_DETACH VDI_CLONE VDI_SNAPSHOT SR_SCAN SR_ATTACH SR_DETACH",
        "",
        "location",
        vendor="Citrix Systems Inc.",
    ),
    _Entry(
        "SMB",
        "smb",
        "SMB VHD",
        "SR plugin which keeps disks as VHD files on an SMB share",
        f"{_MOUNTED} SR_CACHING",
        _NEWER_MOUNTED,
        "server username password",
    ),
    _Entry(
        "udev",
        "udev",
        "udev",
        "SR plugin which offers the removable media of the host",
        "VDI_INTRODUCE VDI_ATTACH VDI_DETACH VDI_UPDATE SR_UPDATE",
        "",
        "location",
        api="1.1",
    ),
)

_KEY_TEXTS: Final = MappingProxyType(
    {
        "device": "local disk or partition, or a comma separated list of them (required)",
        "location": "folder, share or device folder that holds the images (required)",
        "type": "kind of adapter or of share to look at",
        "options": "additional mount options",
        "nfsversion": "version of the NFS protocol: 3, 4, 4.0 or 4.1",
        "vers": "version of the SMB protocol: 1.0 or 3.0",
        "username": "user name for the share",
        "password": "password for the share",
        "cifspassword": "password for the share",
        "cifspassword_secret": "uuid of the secret with the password for the share",
        "SCSIid": "SCSI identifier of the LUN (required)",
        "allocation": "thick or thin provisioning",
        "target": "address of the iSCSI target, or a comma separated list (required)",
        "targetIQN": "qualified name of the iSCSI target (required)",
        "chapuser": "user name for CHAP authentication",
        "chappassword": "password for CHAP authentication",
        "incoming_chapuser": "user name the target authenticates with",
        "incoming_chappassword": "password the target authenticates with",
        "port": "port of the iSCSI target, 3260 when absent",
        "multihomed": "use every portal of the target",
        "usediscoverynumber": "index of the discovery record to use",
        "force_tapdisk": "serve the LUN through the user space disk backend",
        "server": "name or address of the server (required)",
        "serverpath": "exported path on the server (required)",
    }
)


def as_real(plugin: Plugin) -> Plugin:
    """Give a plugin as the drivers on real images provide it, which can do more."""
    if not plugin.supports("VDI_SNAPSHOT"):
        return plugin
    features = MappingProxyType({**plugin.features, "LARGE_VDI": 1, "VDI_RESIZE_ONLINE": 1})
    return replace(plugin, features=features, supported_image_formats=("qcow2", "raw"))


def every_plugin(allowed: frozenset[str] | None = None) -> dict[str, Plugin]:
    """Give the plugins of all profiles, each in its newest form."""
    return plugins("7.1", allowed) | plugins("newest", allowed)


def plugins(profile: Profile, allowed: frozenset[str] | None = None) -> dict[str, Plugin]:
    """Give the plugins of a profile by SR type; ``allowed`` limits the types."""
    return {
        entry.type: _plugin(entry, profile)
        for entry in _TABLE
        if profile in entry.profiles and (allowed is None or entry.type in allowed)
    }


def _plugin(entry: _Entry, profile: Profile) -> Plugin:
    words, keys = entry.base, entry.keys
    if profile == "newest":
        words, keys = f"{words} {entry.newer}", f"{keys} {entry.newer_keys}"
        if "VDI_MIRROR" in words:
            words += " VDI_MIRROR_IN"
    return Plugin(
        type=entry.type,
        name_label=entry.name,
        name_description=entry.description,
        vendor=entry.vendor,
        required_api_version=entry.api,
        features=MappingProxyType(parse_features(tuple(words.split()))),
        configuration=MappingProxyType({k: _KEY_TEXTS[k] for k in keys.split()}),
        driver_filename=f"/opt/xensource/sm/{entry.driver}SR",
    )
