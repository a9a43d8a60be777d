"""SRs that offer each LUN as a disk: rawhba, hba, iscsi.  Blocking.

Nothing is kept on the LUNs: a disk's uuid follows from the SR's and the SCSIid,
names that callers give it live as long as this process.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sm import errors
from sm.block.scsi import Lun
from sm.contract import Backend, Vdi
from sm.files.library import Library


class LunLibrary(Library):
    """The LUNs of adapters or targets; ``find`` looks for them, ``device`` gives one's path."""

    def __init__(
        self,
        sr: str,
        sr_type: str,
        find: Callable[[], Sequence[Lun]],
        device: Callable[[Lun], str],
        let_go: Callable[[], None],
        notify: Callable[..., object],
    ) -> None:
        self._find = find
        self._path = device
        self._let_go = let_go
        self._luns: dict[str, Lun] = {}
        super().__init__(sr, sr_type, Path("/"), notify)

    def found(self) -> dict[str, Vdi]:
        self._luns = {self.uuid_of(lun.scsi_id): lun for lun in self._find()}
        return {
            uuid: Vdi(
                uuid,
                location=lun.scsi_id,
                name_label=f"LUN {lun.id}",
                name_description=f"{lun.vendor} {lun.serial}".strip(),
                virtual_size=lun.size_bytes,
                physical_utilisation=lun.size_bytes,
                sm_config={
                    "SCSIid": lun.scsi_id,
                    "LUNid": str(lun.id),
                    "backend-kind": "vbd",
                },
            )
            for uuid, lun in self._luns.items()
        }

    def path_of(self, vdi: str) -> Path:
        self.disk(vdi)
        return Path(self._path(self._luns[vdi]))

    def attach(self, vdi: str, read_write: bool) -> Backend:
        disk = self.disk(vdi)
        if read_write and disk.read_only:
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is read-only")
        path = str(self.path_of(vdi))
        extra: Mapping[str, str] = {"vdi-uuid": vdi, "storage-type": self.type}
        return Backend("vbd3", path, path, extra)

    def vdi_create(self, spec: object) -> Vdi:
        raise errors.backend_failure(errors.NO_SPACE, "no LUN is free")

    def vdi_destroy(self, vdi: str) -> None:
        """The LUN stays what it is; it is found again while it is there."""
        self.disk(vdi)

    def detach(self) -> None:
        self._let_go()
