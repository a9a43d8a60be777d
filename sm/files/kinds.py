"""SR types on files: what a device_config means, where the SR is, what probes say.  Blocking.

Source: briefs, storage sections 1.2, 3 and 6.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sm import errors, probe_xml
from sm.files import mounts
from sm.files.library import Library
from sm.files.mounts import System
from sm.files.record_log import RecordLog
from sm.files.sr import FileSr
from sm.files.state import disk_errors, make_sr
from sm.files.store import METADATA, FolderStore
from xapi_py.base.rpc.errors import RpcError

Config = Mapping[str, str]
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True)
class Host:
    """What kinds need of this host: a folder for mounts and sockets, its uuid."""

    run_folder: Path
    uuid: str
    smb_licensed: bool = True
    system: System = field(default_factory=System)

    def mount_point(self, name: str) -> Path:
        """Where something is mounted."""
        return self.run_folder / "mounts" / name


def _need(config: Config, key: str, number: int, document: str = "") -> str:
    if not config.get(key):
        raise _missing(number, document)
    return config[key]


def _missing(number: int, document: str = "") -> RpcError:
    return errors.backend_failure(number, "", document)


class Kind:
    """One SR type; ``open_medium`` gives the folder that holds SRs, ``close_medium`` lets it go."""

    def __init__(self, sr_type: str, host: Host) -> None:
        self.type = sr_type
        self.host = host

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        raise NotImplementedError

    def close_medium(self, name: str, config: Config) -> None:
        """Nothing is held unless the type says otherwise."""

    @contextmanager
    def medium(self, name: str, config: Config, *, create: bool = False) -> Iterator[Path]:
        """Have the medium while the block runs."""
        try:
            yield self.open_medium(name, config, create=create)
        finally:
            self.close_medium(name, config)

    def create(
        self, sr: str, config: Config, sm_config: Config, names: tuple[str, str]
    ) -> Config | None:
        """Make an SR; gives what to add to its sm_config, if anything.

        A medium that had to be mounted is unmounted again.
        """
        with self.medium(sr, config, create=True) as folder:
            refusal = errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)
            mounts.writable(folder, refusal)
            make_sr(folder / sr, self.type, names, sm_config)
        return None

    def attach(
        self, sr: str, config: Config, notify: Callable[..., object], hook: Callable[[str], None]
    ) -> FileSr | Library:
        """Open an SR; ``close_medium`` after it was detached."""
        try:
            folder = self.open_medium(sr, config, create=False)
            refusal = errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)
            mounts.writable(folder, refusal)
            run_folder = self.host.run_folder / "d" / sr
            with disk_errors(errors.backend_failure(errors.SR_UNAVAILABLE, f"no such SR: {sr}")):
                log = RecordLog(folder / sr / METADATA, hook)
                mine = config.get("SRmaster", "true") == "true"
                store = FolderStore(folder / sr, self.host.uuid, log, mine=mine)
            return FileSr(sr, self.type, store, run_folder, self.host.uuid, notify, hook)
        except BaseException:
            self.close_medium(sr, config)
            raise

    def probe(self, config: Config, sm_config: Config) -> str:
        """Give the document of the SRs on the medium."""
        with self.medium(f"probe-{os.getpid()}", config) as folder:
            return probe_xml.sr_list([[("UUID", name)] for name in _srs(folder)])


def _srs(folder: Path) -> list[str]:
    with disk_errors(errors.backend_failure(errors.SR_SCAN, "the folder cannot be read")):
        return sorted(n for n in os.listdir(folder) if UUID.fullmatch(n))


class FolderKind(Kind):
    """file: a folder of this host."""

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        location = Path(_need(config, "location", errors.CONFIG_LOCATION_MISSING))
        if not location.is_dir():
            raise errors.backend_failure(errors.FOLDER_MISSING, "location does not exist")
        return location


class ExtKind(Kind):
    """ext: a disk that is formatted, or a folder on an ext4 file system."""

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        device = _need(config, "device", errors.CONFIG_DEVICE_MISSING)
        if os.path.isdir(device):
            return Path(device)
        if "," in device:
            text = "several devices need LVM"
            raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, text)
        if not os.path.exists(device) or not stat.S_ISBLK(os.stat(device).st_mode):
            raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, device)
        if create:
            mounts.format_disk(self.host.system, device)
        folder = self.host.mount_point(name)
        mounts.mount_disk(self.host.system, device, folder)
        return folder

    def close_medium(self, name: str, config: Config) -> None:
        mounts.unmount(self.host.system, self.host.mount_point(name))

    def probe(self, config: Config, sm_config: Config) -> str:
        device = _need(config, "device", errors.CONFIG_DEVICE_MISSING)
        with self.medium(f"probe-{os.getpid()}", config) as folder:
            space = os.statvfs(folder)
            size = str(space.f_blocks * space.f_frsize)
            found = [[("UUID", n), ("Devlist", device), ("size", size)] for n in _srs(folder)]
        return probe_xml.sr_list(found)


class NfsKind(Kind):
    """nfs: an export."""

    def _server(self, config: Config) -> str:
        server = _need(config, "server", errors.CONFIG_SERVER_MISSING)
        mounts.nfs_version(config)
        ports, number = (mounts.NFS_PORT,), errors.NFS_TARGET
        mounts.reach(self.host.system, server, ports, number)
        return server

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        server = self._server(config)
        if not config.get("serverpath"):
            exports = mounts.nfs_exports(self.host.system, server)
            document = probe_xml.nfs_exports(server, exports)
            raise _missing(errors.CONFIG_SERVER_PATH_MISSING, document)
        folder = self.host.mount_point(name)
        mounts.mount_nfs(self.host.system, config, f"{server}:{config['serverpath']}", folder)
        return folder

    def close_medium(self, name: str, config: Config) -> None:
        mounts.unmount(self.host.system, self.host.mount_point(name))

    def probe(self, config: Config, sm_config: Config) -> str:
        with self.medium(f"probe-{os.getpid()}", config) as folder:
            found = _srs(folder)
        versions: list[str] = []
        if "probeversion" in config:
            versions = mounts.offered_nfs_versions(self.host.system, config["server"])
        return probe_xml.sr_list([[("UUID", name)] for name in found], versions)


class SmbKind(Kind):
    """smb: a share."""

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        share = _need(config, "server", errors.CONFIG_SERVER_MISSING).replace("\\", "/")
        if not self.host.smb_licensed:
            raise errors.backend_failure(errors.NO_SMB_LICENCE)
        parts = share.lstrip("/").split("/")
        if not parts[0] or len(parts) < 2 or not parts[1]:
            raise errors.backend_failure(errors.SMB_MOUNT, "mount failed with return code 1")
        mounts.reach(self.host.system, parts[0], mounts.SMB_PORTS, errors.SMB_MOUNT)
        folder = self.host.mount_point(name)
        password = config.get("password", "")
        share = "//" + "/".join(parts)
        mounts.mount_smb(
            self.host.system, config, share, folder, password=password, failed=errors.SMB_MOUNT
        )
        return folder

    def close_medium(self, name: str, config: Config) -> None:
        mounts.unmount(self.host.system, self.host.mount_point(name))


class IsoKind(Kind):
    """iso: disc images on an export, on a share, or in a folder (``legacy_mode``)."""

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        location = _need(config, "location", errors.CONFIG_LOCATION_MISSING).replace("\\", "/")
        if location.startswith("//"):
            folder = self._share(name, config, location)
        elif location.startswith("/"):
            folder = Path(location)
            if config.get("legacy_mode") != "true" or not folder.is_dir():
                raise errors.backend_failure(errors.ISO_LOCATION, location)
        elif ":/" in location:
            folder = self.host.mount_point(name)
            server = location.partition(":")[0]
            mounts.reach(self.host.system, server, (mounts.NFS_PORT,), errors.ISO_MOUNT)
            try:
                mounts.mount_nfs(self.host.system, config, location, folder)
            except RpcError as problem:
                if errors.number_of(problem) == errors.NFS_VERSION:
                    raise
                raise errors.backend_failure(errors.ISO_MOUNT, str(problem.params[2])) from problem
        else:
            raise errors.backend_failure(errors.ISO_LOCATION, location)
        inside = folder / config.get("iso_path", "").lstrip("/")
        if not inside.is_dir() or not inside.resolve().is_relative_to(folder.resolve()):
            self.close_medium(name, config)
            raise errors.backend_failure(errors.ISO_SHARE_NAME, config.get("iso_path", ""))
        return inside

    def _share(self, name: str, config: Config, location: str) -> Path:
        parts = location.lstrip("/").split("/")
        if not parts[0] or len(parts) < 2 or not parts[1]:
            raise errors.backend_failure(errors.ISO_LOCATION, location)
        if config.get("vers", "") not in ("", "1.0", "3.0"):
            raise errors.backend_failure(errors.ISO_SMB_VERSION)
        mounts.reach(self.host.system, parts[0], mounts.SMB_PORTS, errors.ISO_MOUNT)
        folder, password = self.host.mount_point(name), config.get("cifspassword", "")
        mounts.mount_smb(
            self.host.system, config, location, folder, password=password, failed=errors.ISO_MOUNT
        )
        return folder

    def close_medium(self, name: str, config: Config) -> None:
        if not config.get("location", "").startswith("/") or config["location"][1:2] == "/":
            mounts.unmount(self.host.system, self.host.mount_point(name))

    def create(self, sr: str, config: Config, sm_config: Config, names: tuple[str, str]) -> None:
        """Look whether the images can be reached; nothing is written."""
        with self.medium(sr, config, create=True):
            pass

    def attach(
        self, sr: str, config: Config, notify: Callable[..., object], hook: Callable[[str], None]
    ) -> FileSr | Library:
        folder = self.open_medium(sr, config, create=False)
        return Library(sr, "iso", folder, notify, writable=os.access(folder, os.W_OK))


class UdevKind(Kind):
    """udev: drives, as links in a folder."""

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        location = Path(_need(config, "location", errors.CONFIG_LOCATION_MISSING))
        location.mkdir(parents=True, exist_ok=True)
        return location

    def create(self, sr: str, config: Config, sm_config: Config, names: tuple[str, str]) -> None:
        self.open_medium(sr, config, create=True)

    def attach(
        self, sr: str, config: Config, notify: Callable[..., object], hook: Callable[[str], None]
    ) -> FileSr | Library:
        return Library(sr, "udev", self.open_medium(sr, config, create=False), notify)


KINDS: Final[Mapping[str, type[Kind]]] = {
    "file": FolderKind,
    "ext": ExtKind,
    "nfs": NfsKind,
    "smb": SmbKind,
    "iso": IsoKind,
    "udev": UdevKind,
}
