"""Where the disks of VBDs come from."""

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.client import RpcClient
from xapi_py.base.rpc.errors import RpcError, RpcUnreachable
from xenops.metadata import Disk
from xenops.waiting import sleep

log = logging.getLogger(__name__)

DEADLINE_S: Final = 300.0
RETRIES: Final = 20
RETRY_DELAY_S: Final = 0.5
"""A storage daemon that was killed is back well within these retries."""


class Storage(Protocol):
    """Data paths to disks; ``dp`` names a path, as ``vbd/<domid>/<device>``."""

    async def attach(self, dbg: str, dp: str, vm: str, disk: Disk, *, writable: bool) -> str:
        """Attach and activate; give the path or URI of the disk's data.

        Errors: those of the storage daemon, Storage_backend_error among them.
        """

    async def detach(self, dbg: str, dp: str, disk: Disk) -> None:
        """Deactivate and detach; never fails, what is left over is in the log."""


class NoStorage:
    """Disks that are attached by somebody else, or are not real."""

    async def attach(self, dbg: str, dp: str, vm: str, disk: Disk, *, writable: bool) -> str:
        return disk.path

    async def detach(self, dbg: str, dp: str, disk: Disk) -> None:
        return None


class StorageDaemon:
    """The storage daemon of this host; its restart goes unnoticed."""

    def __init__(self, clock: Clock, client: RpcClient) -> None:
        self._clock = clock
        self._client = client

    async def attach(self, dbg: str, dp: str, vm: str, disk: Disk, *, writable: bool) -> str:
        if disk.path:
            return disk.path
        where = {"dp": dp, "sr": disk.sr, "vdi": disk.vdi, "vm": vm}
        try:
            given = await self._call(dbg, "VDI.attach2", where | {"read_write": writable})
            await self._call(dbg, "VDI.activate3", where)
        except Exception:
            await self.detach(dbg, dp, disk)
            raise
        return data_path(given)

    async def detach(self, dbg: str, dp: str, disk: Disk) -> None:
        if disk.path:
            return
        try:
            await self._call(dbg, "DP.destroy", {"dp": dp, "allow_leak": True})
        except (RpcError, RpcUnreachable) as error:
            log.error("%s: data path %s is left over: %s", dbg, dp, error)

    async def _call(self, dbg: str, method: str, params: Mapping[str, object]) -> Any:
        for left in reversed(range(RETRIES)):
            try:
                return await self._client.call(method, dict(params), dbg=dbg, deadline_s=DEADLINE_S)
            except RpcUnreachable:
                if not left:
                    raise
            await sleep(self._clock, RETRY_DELAY_S)
        raise AssertionError("unreachable")


def data_path(answer: Any) -> str:
    """Choose where a disk's data is: a block device or file, else what Xen is to open."""
    implementations = dict(answer["result"]["implementations"])
    if "BlockDevice" in implementations:
        return str(implementations["BlockDevice"]["path"])
    return str(implementations.get("XenDisk", {}).get("params", ""))
