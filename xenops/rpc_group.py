"""What all groups of RPC methods share."""

from collections.abc import Awaitable
from typing import Any

from xapi_py.base.rpc.server import CallContext
from xapi_py.base.rpc.updates import UpdateFeed
from xenops.backends.contract import Backend
from xenops.operations import Operations
from xenops.stat import vm_stat
from xenops.vms import Vm, VmTable


class Methods:
    """What the groups of methods share.  Operations answer ``{"result", "cursor", "epoch"}``."""

    def __init__(self, operations: Operations, backend: Backend, feed: UpdateFeed) -> None:
        self._operations = operations
        self._vms: VmTable = operations.vms
        self._backend = backend
        self._feed = feed

    def done(self, result: object = None) -> dict[str, object]:
        """Answer that everything done so far is in the feed up to ``cursor``."""
        return {"result": result, "cursor": self._feed.cursor, "epoch": self._feed.epoch}

    async def op(self, work: Awaitable[object]) -> dict[str, object]:
        """Wait for an operation and answer."""
        return self.done(await work)

    def stat_many(self, ids: list[str]) -> dict[str, object]:
        """Give the state of several VMs, None for unknown ones."""
        found = {id: self._vms.find(id) for id in ids}
        return {id: None if vm is None else self.stat(vm) for id, vm in found.items()}

    def stat(self, vm: Vm) -> dict[str, object]:
        """Give the state of a VM."""
        return vm_stat(vm, self._operations.power_state(vm), self._backend)

    async def live(self, call: CallContext, id: str, effect: Any) -> dict[str, object]:
        """Apply one effect to a running domain and answer."""
        return await self.op(self._operations.live(call.dbg, id, effect))
