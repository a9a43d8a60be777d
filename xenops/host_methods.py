"""RPC methods on the host and the daemon itself."""

from collections.abc import Mapping
from typing import Any

from xapi_py.base.rpc.server import CallContext, Method
from xenops import errors
from xenops.backends.contract import Console
from xenops.rpc_group import Methods

Call = CallContext


class HostMethods(Methods):
    """The host, the update feed, operations under way, and faults."""

    def table(self) -> Mapping[str, Method]:
        """Give the methods by their names on the wire."""
        return {
            "HOST.stat": self.host_stat,
            "HOST.metrics": self.host_metrics,
            "HOST.get_console_data": self.host_get_console_data,
            "HOST.open_console": self.host_open_console,
            "HOST.send_debug_keys": self.host_send_debug_keys,
            "HOST.update_guest_agent_features": self.host_update_guest_agent_features,
            "UPDATES.get": self.updates_get,
            "TASK.stat": self.task_stat,
            "TASK.list": self.task_list,
            "TASK.cancel": self.task_cancel,
            "DEBUG.inject_fault": self.debug_inject_fault,
            "DEBUG.clear_faults": self.debug_clear_faults,
            "DEBUG.power_cycle": self.debug_power_cycle,
            "DEBUG.echo": self.debug_echo,
        }

    def host_stat(self, call: Call) -> object:
        return self._backend.host_stat()

    def host_metrics(self, call: Call) -> Mapping[str, object]:
        return self._backend.host_metrics()

    def host_get_console_data(self, call: Call) -> str:
        return self._backend.console_data()

    async def host_open_console(self, call: Call, protocol: str = "rfb") -> Console:
        """Open a console of the control domain."""
        if protocol not in ("rfb", "vt100"):
            raise errors.invalid_metadata("protocol: expected rfb or vt100")
        return await self._backend.open_console(0, "rfb" if protocol == "rfb" else "vt100")

    def host_send_debug_keys(self, call: Call, keys: str) -> None:
        self._backend.send_debug_keys(keys)

    def host_update_guest_agent_features(
        self, call: Call, features: dict[str, dict[str, object]]
    ) -> None:
        self._backend.set_guest_agent_features(features)

    async def updates_get(
        self,
        call: Call,
        cursor: int = 0,
        timeout_s: float = 30.0,
        epoch: str = "",
        stat: bool = False,
    ) -> dict[str, object]:
        answer = await self._feed.get(epoch, cursor, timeout_s)
        if stat:
            updates: Any = answer["updates"]
            changed = {update[1] for update in updates if update[0] in ("vm", "vbd", "vif")}
            answer["vms"] = self.stat_many(sorted(changed))
        return answer

    def task_stat(self, call: Call, id: str) -> dict[str, object]:
        return self._operations.tasks.stat(id)

    def task_list(self, call: Call) -> list[str]:
        return self._operations.tasks.names()

    def task_cancel(self, call: Call, id: str) -> bool:
        return self._operations.tasks.cancel(id)

    def debug_inject_fault(self, call: Call, **fault: object) -> None:
        self._backend.inject_fault(fault)

    def debug_clear_faults(self, call: Call) -> None:
        self._backend.clear_faults()

    def debug_power_cycle(self, call: Call) -> dict[str, object]:
        self._backend.power_cycle()
        return self.done()

    def debug_echo(self, call: Call, **params: object) -> dict[str, object]:
        return params
