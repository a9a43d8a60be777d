"""The simulated storage array: what answers at which address, and what it offers.

Pure look-ups over the configuration plus the things that tests and operators
switch at run time: servers that go down and discs in drives.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sm import errors
from sm.config import (
    AdapterConfig,
    ArrayConfig,
    DiskConfig,
    DriveConfig,
    ExportConfig,
    FolderConfig,
    IscsiTargetConfig,
    LunConfig,
    NfsServerConfig,
    ShareConfig,
)
from xapi_py.base.rpc.errors import RpcError

ISCSI_PORT: Final = 3260


@dataclass(frozen=True, slots=True)
class Lun:
    """A LUN with its made-up members filled in; ``key`` names its medium."""

    key: str
    id: int
    size_bytes: int
    vendor: str
    serial: str
    scsi_id: str
    paths: int
    adapter: AdapterConfig | None = None


@dataclass(frozen=True, slots=True)
class Disc:
    """What lies in a drive; no name means that it is empty."""

    name: str
    size_bytes: int


@dataclass(slots=True)
class Array:
    """What one host sees of the array.

    ``down`` holds addresses that do not answer, ``discs`` what lies in which
    drive; both may change at run time.
    """

    config: ArrayConfig
    down: set[str] = field(default_factory=set)
    discs: dict[str, Disc] = field(default_factory=dict)

    def resolve(self, host: str) -> str:
        """Give the address of a host name; error 140 when nobody knows it."""
        named = self.config.names.get(host)
        if named is not None:
            return named
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            pass
        known = {s.address for s in self.config.nfs_servers}
        known |= {s.address for s in self.config.smb_servers}
        known |= {address for address, _ in self._portals()}
        if host in known:
            return host
        raise errors.backend_failure(errors.DNS, host)

    def _portals(self) -> Iterable[tuple[str, int]]:
        return (portal(p) for t in self.config.iscsi_targets for p in t.portals)

    def nfs_server(self, host: str) -> NfsServerConfig:
        """Find an NFS server that answers; error 140 or 108."""
        address = self.resolve(host)
        for server in self.config.nfs_servers:
            if server.address == address and not server.down and address not in self.down:
                return server
        raise errors.backend_failure(errors.NFS_TARGET)

    def smb_share(self, host: str, name: str, username: str, password: str) -> ShareConfig:
        """Log in to a share; error 140 or 111 with the exit status of the mount tool."""
        address = self.resolve(host)
        for server in self.config.smb_servers:
            if server.address != address or server.down or address in self.down:
                continue
            for share in server.shares:
                if share.name.lower() == name.lower():
                    user = username.rpartition("\\")[2]
                    if share.username and (user, password) != (share.username, share.password):
                        raise errors.backend_failure(
                            errors.SMB_MOUNT, "Permission denied. Please check user privileges."
                        )
                    return share
        raise errors.backend_failure(errors.SMB_MOUNT, "mount failed with return code 32")

    def targets_at(self, host: str, port: int) -> list[IscsiTargetConfig]:
        """Targets behind a portal; error 140, or 141 when nothing listens there."""
        address = self.resolve(host)
        found = [
            t
            for t in self.config.iscsi_targets
            if (address, port) in {portal(p) for p in t.portals} and address not in self.down
        ]
        if not found:
            raise errors.backend_failure(errors.ISCSI_TARGET)
        return found

    def luns_of_target(self, target: IscsiTargetConfig) -> list[Lun]:
        """LUNs of an iSCSI target, by number."""
        number = self.config.iscsi_targets.index(target)
        return [self._lun(f"iscsi-{target.iqn}-{c.id}", c, 0x10 + number) for c in target.luns]

    def luns_of_adapters(self, *kinds: str) -> list[Lun]:
        """LUNs that the host bus adapters of the given kinds see."""
        return [
            self._lun(f"hba-{a.host}-{c.id}", c, 0x80 + number, a)
            for number, a in enumerate(self.config.adapters)
            if a.kind in kinds
            for c in a.luns
        ]

    def _lun(
        self, key: str, config: LunConfig, group: int, adapter: AdapterConfig | None = None
    ) -> Lun:
        serial = config.serial or f"SIM{group:04x}{config.id:04x}"
        scsi_id = (
            config.scsi_id or f"3600a098038{group:02x}{config.id:04x}5349{config.id:06x}53494d"
        )
        return Lun(
            key,
            config.id,
            config.size_bytes,
            config.vendor,
            serial,
            "_".join(scsi_id.split()),
            config.paths,
            adapter,
        )

    def disk(self, device: str) -> DiskConfig:
        """Find a local disk; error 91 for one that is not there, 105 for the system's."""
        for disk in self.config.disks:
            if disk.device == device:
                if disk.root:
                    raise errors.backend_failure(errors.ROOT_DEVICE, device)
                return disk
        raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, device)

    def folder(self, path: str) -> FolderConfig | None:
        """Find a folder of the host."""
        wanted = path.rstrip("/")
        return next((f for f in self.config.folders if f.path.rstrip("/") == wanted), None)

    def drives(self, kind: str) -> list[tuple[DriveConfig, Disc]]:
        """Drives of a kind and what lies in them."""
        return [
            (d, self.discs.get(d.device, Disc(d.disc, d.size_bytes if d.disc else 0)))
            for d in self.config.drives
            if d.kind == kind
        ]


def portal(text: str, default_port: int = ISCSI_PORT) -> tuple[str, int]:
    """Split ``address[:port]``; an IPv6 address with a port stands in brackets."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        return address, int(rest[1:]) if rest.startswith(":") else default_port
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, int(port)
    return text, default_port


def export_at(server: NfsServerConfig, path: str) -> ExportConfig | None:
    """Find an export of a server by its path."""
    wanted = path.rstrip("/") or "/"
    return next((e for e in server.exports if (e.path.rstrip("/") or "/") == wanted), None)


def missing(number: int, document: str = "") -> RpcError:
    """The error of a device_config key that was left out."""
    return errors.backend_failure(number, "", document)
