"""Opening disks for other processes where a raw file with the content is at hand."""

from collections.abc import Mapping

from sm.contract import Access, Extents, Vdi


class PathAccess:
    """``vdi_open`` and ``vdi_close`` of drivers that have ``vdi_path``.

    What is written to the file is on the disk at once.
    """

    async def vdi_open(self, vdi: str, mode: str, base: str, images: bool = False) -> Access:
        return Access(path=await self.vdi_path(vdi, mode != "read"))

    async def vdi_close(self, vdi: str, mode: str, commit: bool, extents: Extents) -> Vdi:
        if mode == "read":
            return await self.vdi_stat(vdi)
        return await self.vdi_note_written(vdi, extents, False)

    def vdi_progress(self, vdi: str) -> float:
        return 0.0

    async def vdi_holders(self, vdi: str) -> list[Mapping[str, str]]:
        return []

    async def vdi_path(self, vdi: str, writable: bool) -> str:
        raise NotImplementedError

    async def vdi_stat(self, vdi: str) -> Vdi:
        raise NotImplementedError

    async def vdi_note_written(self, vdi: str, extents: Extents, simulated: bool) -> Vdi:
        raise NotImplementedError
