"""Where the disks of VBDs come from."""

from collections.abc import Mapping
from typing import Protocol

from xapi_py.base.rpc.client import RpcClient
from xenops.metadata import Disk

STORAGE_DEADLINE_S = 300.0


class Storage(Protocol):
    """Data paths to disks; ``dp`` names a path, as ``vbd/<domid>/<device>``."""

    async def attach(self, dbg: str, dp: str, disk: Disk, *, writable: bool) -> str:
        """Attach and activate; give the path or URI of the disk's data.

        Errors: Storage_backend_error(code, params...).
        """

    async def detach(self, dbg: str, dp: str, disk: Disk) -> None:
        """Deactivate and detach; nothing to do when it is not attached."""


class NoStorage:
    """Disks that are attached by somebody else, or are not real."""

    async def attach(self, dbg: str, dp: str, disk: Disk, *, writable: bool) -> str:
        return disk.path

    async def detach(self, dbg: str, dp: str, disk: Disk) -> None:
        return None


class StorageDaemon:
    """The storage daemon of this host."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def attach(self, dbg: str, dp: str, disk: Disk, *, writable: bool) -> str:
        if disk.path:
            return disk.path
        where = {"dp": dp, "sr": disk.sr, "vdi": disk.vdi}
        given = await self._call(dbg, "VDI.attach2", where | {"read_write": writable})
        await self._call(dbg, "VDI.activate3", where)
        path = given.get("path") if isinstance(given, dict) else given
        return path if isinstance(path, str) else ""

    async def detach(self, dbg: str, dp: str, disk: Disk) -> None:
        if not disk.path:
            where = {"dp": dp, "sr": disk.sr, "vdi": disk.vdi}
            await self._call(dbg, "VDI.deactivate", where)
            await self._call(dbg, "VDI.detach", where)

    async def _call(self, dbg: str, method: str, params: Mapping[str, object]) -> object:
        return await self._client.call(method, dict(params), dbg=dbg, deadline_s=STORAGE_DEADLINE_S)
