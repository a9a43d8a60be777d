"""Volume groups on LUNs: lvmoiscsi, lvmohba, lvmofcoe.  Blocking.

Source: briefs, storage sections 1.2, 3 and 6.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from sm import errors, lun_choice
from sm.block import iscsi
from sm.block.hba import Adapters
from sm.block.initiator import Portal
from sm.block.multipath import Luns
from sm.block.open_iscsi import OpenIscsi
from sm.block.scsi import Lun
from sm.block.sysfs import Adapter
from sm.files.kinds import Config, Host, Kind
from sm.volumes.kinds import VolumeKind, check_unused, missing
from xapi_py.base.rpc.errors import RpcError


def several_paths(config: Config) -> bool:
    """Whether the host is to use all paths to a LUN."""
    return config.get("multipathing") == "true"


class LunKind(VolumeKind):
    """SRs on one LUN, that several hosts share."""

    def __init__(self, sr_type: str, host: Host) -> None:
        super().__init__(sr_type, host)
        self.luns = Luns(host.system)

    def sm_config(self, devices: Sequence[str], config: Config, sm_config: Config) -> Config:
        kept = dict(super().sm_config(devices, config, sm_config))
        name = self.named(config)
        return {**kept, "multipathable": "true", "devserial": f"scsi-{name}"}

    def named(self, config: Config) -> str:
        """The SCSIid a device_config means."""
        return config.get("SCSIid", "")

    def hidden(self, found: Iterable[Lun]) -> list[str]:
        """SCSIids of LUNs that something of this host uses, its own system among them."""
        sysfs, used = self.luns.sysfs, []
        for lun in found:
            if any(sysfs.in_use(p) for p in lun.paths) or self._busy(lun.paths):
                used.append(lun.scsi_id)
        return used

    def _busy(self, paths: Sequence[str]) -> bool:
        for path in paths:
            try:
                check_unused(self.host.system, str(self.host.system.dev / path))
            except RpcError:
                return True
        return False


class IscsiKind(LunKind):
    """lvmoiscsi: the LUN of an iSCSI target."""

    def __init__(self, sr_type: str, host: Host) -> None:
        super().__init__(sr_type, host)
        self._sessions = OpenIscsi(host.system, host.run_folder / "iscsi")
        self._iqns: dict[str, set[str]] = {}
        self._scsi_id = ""

    def named(self, config: Config) -> str:
        return self._scsi_id or super().named(config)

    def find_devices(self, name: str, config: Config) -> Sequence[str]:
        """Errors: 95, 97, 142, 140, 141, 68, 96 with targets, 107 with LUNs, 67."""
        request = iscsi.understand(self.host.system, config, "")
        portals = iscsi.portals_of(request)
        by_target = iscsi.luns(request, portals)
        found = [lun for luns in by_target.values() for lun in luns]
        lun = lun_choice.pick(found, config)
        if lun is None:
            raise missing(errors.CONFIG_SCSI_ID, iscsi.luns_document(found))
        iqn = next(i for i, luns in by_target.items() if lun in luns)
        self._scsi_id = lun.scsi_id
        wanted = self._wanted(config, [p for p in portals if p.iqn == iqn])
        multipath = several_paths(config)
        self._iqns.setdefault(name, set()).add(iqn)
        count = self._sessions.log_in(
            name, request.initiator, wanted, request.chap, multipath=multipath
        )
        rescan = lambda: self._sessions.rescan(iqn)  # noqa: E731
        paths = self.luns.wait(lun.scsi_id, count, rescan)
        return [self.luns.device(lun.scsi_id, paths, multipath=multipath)]

    def _wanted(self, config: Config, portals: list[Portal]) -> list[Portal]:
        everything = several_paths(config) or config.get("multihomed") == "true"
        return portals if everything else portals[:1]

    def close_medium(self, name: str, config: Config) -> None:
        for iqn in self._iqns.pop(name, set()):
            if self._scsi_id:
                self.luns.release(self._scsi_id)
            self._sessions.log_out(name, iqn)


class AdapterKind(LunKind):
    """lvmohba, lvmofcoe: a LUN that adapters of this host see."""

    fcoe = False

    def adapters(self) -> Adapters:
        """The adapters this type is about."""
        return Adapters(self.luns.sysfs, lambda a: self.wanted(a))

    def wanted(self, adapter: Adapter) -> bool:
        return adapter.fcoe == self.fcoe

    def find_devices(self, name: str, config: Config) -> Sequence[str]:
        """Errors: 107 with the devices to choose from."""
        adapters = self.adapters()
        adapters.scan()
        found = adapters.luns()
        lun = lun_choice.pick(found, config) or self._by_path(found, config)
        if lun is None:
            document = adapters.document(self.host.system.dev, self.hidden(found))
            raise missing(errors.CONFIG_SCSI_ID, document)
        paths = self.luns.sysfs.paths_of(lun.scsi_id)
        return [self.luns.device(lun.scsi_id, paths, multipath=several_paths(config))]

    def _by_path(self, found: Sequence[Lun], config: Config) -> Lun | None:
        device = config.get("device", "").rpartition("/")[2]
        if config.get("SCSIid") or not device:
            return None
        return next((lun for lun in found if device in lun.paths), None)

    def close_medium(self, name: str, config: Config) -> None:
        if several_paths(config) and config.get("SCSIid"):
            self.luns.release(config["SCSIid"])


class FcoeKind(AdapterKind):
    """lvmofcoe: a LUN over FCoE."""

    fcoe = True


LUN_KINDS: Final[Mapping[str, Callable[[str, Host], Kind]]] = {
    "lvmoiscsi": IscsiKind,
    "lvmohba": AdapterKind,
    "lvmofcoe": FcoeKind,
}
