"""Errors of the storage interface.

A driver's own failures carry a number; clients know them as
``SR_BACKEND_FAILURE_<number>`` with three parameters: empty, a sentence for
people, and details for programs (probe documents travel there).
"""

from types import MappingProxyType
from typing import Final

from xapi_py.base.rpc.errors import RpcError

BACKEND_ERROR: Final = "Storage_backend_error"

SR_IN_USE: Final = 16
VDI_IN_USE: Final = 24
UNIMPLEMENTED: Final = 38
SR_NOT_EMPTY: Final = 39
SR_SCAN: Final = 40
SR_EXISTS: Final = 42
VDI_EXISTS: Final = 43
NO_SPACE: Final = 44
VDI_UNAVAILABLE: Final = 46
SR_UNAVAILABLE: Final = 47
LVM_CREATE: Final = 50
LVM_DELETE: Final = 51
LVM_MOUNT: Final = 52
LVM_UNMOUNT: Final = 53
LVM_MASTER: Final = 58
LVM_RESIZE: Final = 59
FOLDER_MISSING: Final = 61
VDI_LOAD: Final = 65
VDI_TYPE: Final = 66
ISCSI_DEVICE: Final = 67
ISCSI_LOGIN: Final = 68
ISCSI_LOGOUT: Final = 69
NFS_VERSION: Final = 72
NFS_MOUNT: Final = 73
LVM_GROUP_CREATE: Final = 77
VDI_CREATE: Final = 78
VDI_SIZE: Final = 79
VDI_DELETE: Final = 80
VDI_CLONE: Final = 81
VDI_SNAPSHOT: Final = 82
CONFIG_DEVICE_MISSING: Final = 90
CONFIG_DEVICE_INVALID: Final = 91
CONFIG_LOCATION_MISSING: Final = 94
CONFIG_TARGET_MISSING: Final = 95
CONFIG_TARGET_IQN_MISSING: Final = 96
CONFIG_ISCSI_IQN_MISSING: Final = 97
CONFIG_SERVER_PATH_MISSING: Final = 101
CONFIG_SERVER_MISSING: Final = 102
ROOT_DEVICE: Final = 105
CONFIG_SCSI_ID: Final = 107
NFS_TARGET: Final = 108
CHAIN_TOO_LONG: Final = 109
SMB_MOUNT: Final = 111
LVM_READ: Final = 117
DNS: Final = 140
ISCSI_TARGET: Final = 141
ISCSI_PORT: Final = 142
VDI_MISSING: Final = 144
PROVISION: Final = 180
METADATA: Final = 181
ISO_MOUNT: Final = 222
ISO_SHARE_NAME: Final = 224
ISO_LOCATION: Final = 225
ISO_SMB_VERSION: Final = 227
EIO: Final = 200
GENERAL: Final = 202
ISO_NAME: Final = 221
XML_CHARACTER: Final = 447
CBT_INCONSISTENT: Final = 459
CBT_CHANGED_BLOCKS: Final = 460
READ_ONLY_FILE_SYSTEM: Final = 461
NO_SMB_LICENCE: Final = 454

_TEXTS: Final = MappingProxyType(
    {
        SR_SCAN: "The SR scan failed",
        SR_EXISTS: "The SR already exists",
        VDI_EXISTS: "The VDI already exists",
        NO_SPACE: "There is insufficient space",
        VDI_UNAVAILABLE: "The VDI is not available",
        SR_UNAVAILABLE: "The SR is not available",
        LVM_CREATE: "Logical Volume creation error",
        LVM_DELETE: "Logical Volume deletion error",
        LVM_MOUNT: "Logical Volume mount/activate error",
        LVM_UNMOUNT: "Logical Volume unmount/deactivate error",
        LVM_MASTER: "The request must come from the pool's master",
        LVM_RESIZE: "Logical Volume resize failed",
        VDI_LOAD: "The VDI is damaged",
        VDI_TYPE: "Invalid VDI type",
        ISCSI_DEVICE: "ISCSI device failed to appear",
        ISCSI_LOGOUT: "Logout failed from target",
        ISCSI_LOGIN: "iSCSI log in failed, check the target and the access credentials",
        NFS_VERSION: "NFS version error",
        NFS_MOUNT: "NFS mount error",
        LVM_GROUP_CREATE: "Logical Volume group creation failed",
        VDI_CREATE: "The VDI could not be created",
        VDI_SIZE: "VDI Invalid size",
        VDI_CLONE: "The VDI could not be cloned",
        VDI_SNAPSHOT: "The VDI could not be snapshotted",
        CONFIG_DEVICE_MISSING: "The request is missing the device parameter",
        CONFIG_DEVICE_INVALID: "The device parameter does not name a usable disk",
        CONFIG_LOCATION_MISSING: "The request is missing the location parameter",
        CONFIG_TARGET_MISSING: "The request is missing the target parameter",
        CONFIG_TARGET_IQN_MISSING: "The target IQN parameter is missing or incorrect",
        CONFIG_ISCSI_IQN_MISSING: "The host has no iSCSI initiator name",
        CONFIG_SERVER_PATH_MISSING: "The request is missing the serverpath parameter",
        CONFIG_SERVER_MISSING: "The request is missing the server parameter",
        ROOT_DEVICE: "The device holds the host's own system",
        CONFIG_SCSI_ID: "The SCSIid parameter is missing or incorrect",
        NFS_TARGET: "The NFS server could not be reached",
        CHAIN_TOO_LONG: "The snapshot chain is too long",
        SMB_MOUNT: "SMB mount error",
        DNS: "The name of the server could not be resolved",
        LVM_READ: "Logical Volume read failed",
        PROVISION: "There is not enough space to give the VDI its full size",
        METADATA: "The metadata of the SR cannot be used",
        ISCSI_TARGET: "The iSCSI target could not be reached",
        ISCSI_PORT: "The port parameter is not a port number",
        EIO: "General IO error",
        GENERAL: "General backend error",
        ISO_NAME: "The name does not end in .iso or .img",
        ISO_MOUNT: "Could not mount the directory with the ISO images",
        ISO_SHARE_NAME: "The share or sub-directory name is incorrect",
        ISO_LOCATION: "The format of the location parameter is incorrect",
        ISO_SMB_VERSION: "The SMB version parameter is incorrect",
        XML_CHARACTER: "A text holds a character that XML cannot carry",
        CBT_INCONSISTENT: "The changed block tracking metadata is inconsistent",
        CBT_CHANGED_BLOCKS: "The changed blocks could not be listed",
        READ_ONLY_FILE_SYSTEM: "The shared file system is not writable",
        NO_SMB_LICENCE: "The licence does not allow SMB storage",
    }
)

_OWN_CODES: Final = MappingProxyType(
    {SR_IN_USE: "SR_DEVICE_IN_USE", VDI_IN_USE: "VDI_IN_USE", SR_NOT_EMPTY: "SR_NOT_EMPTY"}
)
"""Numbers that clients see under a name of their own, without parameters."""


def backend_failure(number: int, detail: str = "", document: str = "") -> RpcError:
    """Make the error of a driver's failure number.

    ``detail`` is added to the number's sentence, ``document`` becomes the last
    parameter.  Source: briefs, storage section 2.1 (fault code table).
    """
    own = _OWN_CODES.get(number)
    if own is not None:
        return RpcError(BACKEND_ERROR, own)
    text = _TEXTS.get(number, "")
    if detail:
        text = f"{text} [opterr={detail}]"
    return RpcError(BACKEND_ERROR, f"SR_BACKEND_FAILURE_{number}", "", text, document)


def number_of(problem: RpcError) -> int | None:
    """Give the failure number a backend error was made from, if it was."""
    if problem.name != BACKEND_ERROR or not problem.params:
        return None
    code = str(problem.params[0])
    for number, own in _OWN_CODES.items():
        if code == own:
            return number
    tail = code.removeprefix("SR_BACKEND_FAILURE_")
    return int(tail) if tail != code and tail.isdigit() else None


def unsupported(sr: str) -> RpcError:
    """The SR's type does not have the operation."""
    return RpcError(BACKEND_ERROR, "SR_OPERATION_NOT_SUPPORTED", sr)


def sr_not_attached(sr: str) -> RpcError:
    """The SR is not attached on this host."""
    return RpcError("Sr_not_attached", sr)


def vdi_does_not_exist(vdi: str) -> RpcError:
    """No such VDI in the SR."""
    return RpcError("Vdi_does_not_exist", vdi)


def activated_elsewhere(host: str) -> RpcError:
    """The VDI is active on another host."""
    return RpcError("Activated_on_another_host", host)


def illegal_transition(found: str, wanted: str) -> RpcError:
    """A datapath cannot go from one state to the other."""
    return RpcError("Illegal_transition", found, wanted)


def unknown_type(sr_type: str) -> RpcError:
    """No plugin answers to this SR type, or it is not allowed here."""
    return RpcError("No_storage_plugin_for_type", sr_type)
