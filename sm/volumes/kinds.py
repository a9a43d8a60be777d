"""SR types in volume groups: what a device_config means, making, finding and opening SRs.

Blocking.  Source: briefs, storage sections 1.2, 3 and 6.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sm import errors, probe_xml
from sm.files.disks import from_record
from sm.files.kinds import Config, Host, Kind
from sm.files.library import Library
from sm.files.mounts import System
from sm.files.record_log import Record
from sm.files.sr import FileSr
from sm.files.state import disk_errors
from sm.volumes import volume_log
from sm.volumes.host_locks import HostLocks
from sm.volumes.lvm import PREFIX, Lvm, VolumeGroup
from sm.volumes.store import METADATA, VolumeStore, metadata_path
from sm.volumes.volume_log import NotOurs, VolumeLog
from xapi_py.base.rpc.errors import RpcError

THIN: Final = ("thin", "xlvhd")


def missing(number: int, document: str = "") -> RpcError:
    """The error of a device_config key that was left out or makes no sense."""
    return errors.backend_failure(number, "", document)


def allocation(*configs: Mapping[str, str]) -> str:
    """Say how an SR gives space to disks: ``thick`` unless it was asked for ``thin``."""
    return "thin" if any(c.get("allocation") in THIN for c in configs) else "thick"


def check_unused(system: System, device: str) -> None:
    """Check that nothing of this host uses a disk.  Errors: 91, 105, SR_DEVICE_IN_USE."""
    if not system.is_block(device):
        raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, device)
    found = system.run("lsblk", "-nro", "MOUNTPOINTS", device)
    points = {p for line in found.output.splitlines() for p in line.split("\\x0a") if p.strip()}
    if "/" in points:
        raise errors.backend_failure(errors.ROOT_DEVICE, device)
    if points:
        raise errors.backend_failure(errors.SR_IN_USE)


class VolumeKind(Kind):
    """An SR type whose SRs are volume groups; subclasses say on which devices."""

    def find_devices(self, name: str, config: Config) -> Sequence[str]:
        """Reach the devices a device_config names; ``close_medium`` lets them go."""
        raise NotImplementedError

    def sm_config(self, devices: Sequence[str], config: Config, sm_config: Config) -> Config:
        """What to keep in the SR's sm_config."""
        return {"allocation": allocation(config, sm_config), "use_vhd": "true"}

    @contextmanager
    def reached(self, name: str, config: Config) -> Iterator[Sequence[str]]:
        """Have the devices while the block runs."""
        try:
            yield self.find_devices(name, config)
        finally:
            self.close_medium(name, config)

    def _group(self, sr: str, devices: Sequence[str]) -> VolumeGroup:
        system = self.host.system
        return VolumeGroup(Lvm(system, devices), PREFIX + sr, system.dev)

    # -- making

    def create(
        self, sr: str, config: Config, sm_config: Config, names: tuple[str, str]
    ) -> Config | None:
        with self.reached(sr, config) as devices:
            for device in devices:
                check_unused(self.host.system, device)
            self._clear(devices)
            kept = self.sm_config(devices, config, sm_config)
            record: Record = {
                "type": self.type,
                "name_label": names[0],
                "name_description": names[1],
                "sm_config": {**kept, **sm_config},
            }
            group = self._group(sr, devices)
            group.create()
            try:
                group.look()
                group.make(METADATA, volume_log.VOLUME_BYTES)
                with disk_errors():
                    volume_log.make(metadata_path(group), sr, {"sr": record})
                group.deactivate([METADATA])
            except Exception:
                with suppress(RpcError):
                    group.erase()
                raise
        return kept

    def _clear(self, devices: Sequence[str]) -> None:
        """Remove unused SRs from devices.  Errors: SR_DEVICE_IN_USE for anything else there."""
        lvm = Lvm(self.host.system, devices)
        for name in {row["vg_name"] for row in lvm.groups() if row["vg_name"]}:
            if not name.startswith(PREFIX):
                raise errors.backend_failure(errors.SR_IN_USE)
            group = VolumeGroup(lvm, name, self.host.system.dev)
            group.look()
            if any(v.active for v in group.volumes.values()) or self._used_elsewhere(group):
                raise errors.backend_failure(errors.SR_IN_USE)
            group.erase()

    def _used_elsewhere(self, group: VolumeGroup) -> bool:
        if METADATA not in group.volumes:
            return False
        group.activate([METADATA])
        try:
            log = VolumeLog(metadata_path(group), self.host.uuid)
            try:
                return bool(HostLocks(log.device, self.host.uuid).held_elsewhere())
            finally:
                log.close()
        except (NotOurs, OSError):
            return False
        finally:
            group.deactivate([METADATA])

    # -- opening

    def attach(
        self, sr: str, config: Config, notify: Callable[..., object], hook: Callable[[str], None]
    ) -> FileSr | Library:
        try:
            devices = self.find_devices(sr, config)
            return self._open(sr, devices, config, notify, hook)
        except BaseException as problem:
            if isinstance(problem, Exception):
                self.close_medium(sr, config)
            raise

    def _open(
        self,
        sr: str,
        devices: Sequence[str],
        config: Config,
        notify: Callable[..., object],
        hook: Callable[[str], None],
    ) -> FileSr:
        group = self._group(sr, devices)
        group.look()
        if METADATA not in group.volumes:
            raise errors.backend_failure(errors.METADATA, "no metadata of this toolstack")
        master = config.get("SRmaster", "true") == "true"
        if master:
            group.claim_growth()
            group.look()
        group.activate([METADATA])
        try:
            store = self._store(group, sr, hook)
            if master:
                store.take_charge()
            run_folder = self.host.run_folder / "d" / sr
            return FileSr(sr, self.type, store, run_folder, self.host.uuid, notify, hook)
        except Exception:
            with suppress(RpcError):
                group.deactivate([METADATA])
            raise

    def _store(self, group: VolumeGroup, sr: str, hook: Callable[[str], None]) -> VolumeStore:
        try:
            with disk_errors(errors.backend_failure(errors.SR_UNAVAILABLE, "it cannot be read")):
                log = VolumeLog(metadata_path(group), self.host.uuid, hook)
        except NotOurs as problem:
            raise errors.backend_failure(errors.METADATA, str(problem)) from problem
        record = log.records.get("sr")
        if log.sr != sr or record is None:
            log.close()
            raise errors.backend_failure(errors.METADATA, f"it is the metadata of {log.sr}")
        sm_config = record["sm_config"]
        assert isinstance(sm_config, dict)
        return VolumeStore(group, self.host.uuid, log, thin=allocation(sm_config) == "thin")

    # -- probing

    def probe(self, config: Config, sm_config: Config) -> str:
        with self.reached(f"probe-{os.getpid()}", config) as devices:
            return self.list_srs(devices, sm_config)

    def list_srs(self, devices: Sequence[str], sm_config: Config) -> str:
        """Give the document of the SRs on devices; with names if ``metadata`` is asked for."""
        lvm = Lvm(self.host.system, devices)
        found: dict[str, list[dict[str, str]]] = {}
        for row in lvm.groups():
            if row["vg_name"].startswith(PREFIX):
                found.setdefault(row["vg_name"], []).append(row)
        srs = []
        for name, rows in found.items():
            members = [
                ("UUID", name.removeprefix(PREFIX)),
                ("Devlist", ",".join(row["pv_name"] for row in rows)),
                ("size", rows[0]["vg_size"]),
            ]
            if sm_config.get("metadata") == "true":
                members += self._names(VolumeGroup(lvm, name, self.host.system.dev))
            srs.append(members)
        return probe_xml.sr_list(srs)

    def _names(self, group: VolumeGroup) -> list[tuple[str, str]]:
        record: Mapping[str, object] = {}
        pool_metadata = False
        group.look()
        if METADATA in group.volumes:
            was_active = group.volumes[METADATA].active
            group.activate([METADATA])
            try:
                log = VolumeLog(metadata_path(group), self.host.uuid)
                record = log.records.get("sr", {})
                disks = [from_record(n, r) for n, r in log.records.items() if n[:4] == "vdi/"]
                pool_metadata = any(d.members.get("metadata_of_pool") for d in disks)
                log.close()
            except (NotOurs, OSError):
                record = {}
            finally:
                if not was_active:
                    group.deactivate([METADATA])
        return [
            ("name_label", str(record.get("name_label", ""))),
            ("name_description", str(record.get("name_description", ""))),
            ("pool_metadata_detected", "true" if pool_metadata else "false"),
        ]

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        raise NotImplementedError("a volume group is no folder")


class LvmKind(VolumeKind):
    """lvm: disks and partitions of this host."""

    def find_devices(self, name: str, config: Config) -> Sequence[str]:
        devices = [d.strip() for d in config.get("device", "").split(",") if d.strip()]
        if not devices:
            raise missing(errors.CONFIG_DEVICE_MISSING)
        for device in devices:
            if not self.host.system.is_block(device):
                raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, device)
        return devices

    def sm_config(self, devices: Sequence[str], config: Config, sm_config: Config) -> Config:
        kept = dict(super().sm_config(devices, config, sm_config))
        return {**kept, "devserial": ",".join(devices)}


VOLUME_KINDS: Final[Mapping[str, Callable[[str, Host], Kind]]] = {"lvm": LvmKind}
