"""SR types that offer each LUN as a disk: rawhba, hba, iscsi.  Blocking."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sm import errors, probe_xml
from sm.block import iscsi
from sm.block.hba import FC_TYPES, Adapters
from sm.block.lun_library import LunLibrary
from sm.block.multipath import Luns
from sm.block.open_iscsi import OpenIscsi
from sm.block.scsi import Lun
from sm.files.kinds import Config, Host, Kind
from sm.files.library import Library
from sm.files.sr import FileSr


class LunsKind(Kind):
    """Each LUN is a disk; subclasses say which LUNs."""

    def __init__(self, sr_type: str, host: Host) -> None:
        super().__init__(sr_type, host)
        self.luns = Luns(host.system)

    def find(self, config: Config) -> Sequence[Lun]:
        """List the LUNs a device_config means."""
        raise NotImplementedError

    def begin(self, name: str, config: Config) -> None:
        """Have the LUNs as devices until ``close_medium``."""

    def create(self, sr: str, config: Config, sm_config: Config, names: tuple[str, str]) -> None:
        """Look whether the LUNs can be reached; nothing is written."""
        self.find(config)

    def attach(
        self, sr: str, config: Config, notify: Callable[..., object], hook: Callable[[str], None]
    ) -> FileSr | Library:
        multipath = config.get("multipathing") == "true"

        def device(lun: Lun) -> str:
            paths = self.luns.wait(lun.scsi_id, 1, lambda: None)
            return self.luns.device(lun.scsi_id, paths, multipath=multipath)

        self.begin(sr, config)
        try:
            let_go = lambda: self.close_medium(sr, config)  # noqa: E731
            find = lambda: self.find(config)  # noqa: E731
            return LunLibrary(sr, self.type, find, device, let_go, notify)
        except BaseException:
            self.close_medium(sr, config)
            raise

    def open_medium(self, name: str, config: Config, *, create: bool) -> Path:
        raise NotImplementedError("LUNs are no folder")


class RawAdapterKind(LunsKind):
    """rawhba, hba: LUNs behind the adapters of this host."""

    def _adapters(self, config: Config) -> Adapters:
        wanted = config.get("type", "")
        if wanted not in FC_TYPES:
            raise errors.backend_failure(errors.GENERAL, f"no such kind of adapter: {wanted}")
        adapters = Adapters(
            self.luns.sysfs, lambda a: not a.fcoe and (wanted != "FC" or bool(a.port))
        )
        adapters.scan()
        return adapters

    def find(self, config: Config) -> Sequence[Lun]:
        return self._adapters(config).luns()

    def probe(self, config: Config, sm_config: Config) -> str:
        return self._adapters(config).document(self.host.system.dev, [])


class RawIscsiKind(LunsKind):
    """iscsi: the LUNs of a target."""

    def __init__(self, sr_type: str, host: Host) -> None:
        super().__init__(sr_type, host)
        self._sessions = OpenIscsi(host.system, host.run_folder / "iscsi")
        self._iqns: dict[str, set[str]] = {}

    def find(self, config: Config) -> Sequence[Lun]:
        request = iscsi.understand(self.host.system, config, "")
        by_target = iscsi.luns(request, iscsi.portals_of(request))
        return [lun for luns in by_target.values() for lun in luns]

    def begin(self, name: str, config: Config) -> None:
        request = iscsi.understand(self.host.system, config, "")
        portals = iscsi.portals_of(request)
        multipath = config.get("multipathing") == "true"
        for iqn in dict.fromkeys(p.iqn for p in portals):
            mine = [p for p in portals if p.iqn == iqn]
            self._iqns.setdefault(name, set()).add(iqn)
            wanted = mine if multipath else mine[:1]
            self._sessions.log_in(
                name, request.initiator, wanted, request.chap, multipath=multipath
            )

    def close_medium(self, name: str, config: Config) -> None:
        for iqn in self._iqns.pop(name, set()):
            self._sessions.log_out(name, iqn)

    def probe(self, config: Config, sm_config: Config) -> str:
        request = iscsi.understand(self.host.system, config, "")
        found = iscsi.luns(request, iscsi.portals_of(request))
        target = [("Target", request.asked)]
        return probe_xml.sr_list(
            [*target, ("TargetIQN", iqn), ("size", str(sum(n.size_bytes for n in luns)))]
            for iqn, luns in found.items()
        )


RAW_KINDS: Final[Mapping[str, Callable[[str, Host], Kind]]] = {
    "rawhba": RawAdapterKind,
    "hba": RawAdapterKind,
    "iscsi": RawIscsiKind,
}
