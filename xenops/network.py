"""Where the network devices of VMs are connected to."""

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.client import RpcClient
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xenops.metadata import Vif
from xenops.waiting import sleep

log = logging.getLogger(__name__)

DEADLINE_S: Final = 120.0
"""A change of the management interface may keep the network daemon busy that long."""
MOST_RATE_KIB: Final = 100_000_000
"""A limit beyond this is none: no device sends that much in a second."""
RETRIES: Final = 20
RETRY_DELAY_S: Final = 0.5
"""A network daemon that was killed is back well within these retries."""


class Network(Protocol):
    """The host's bridges; a device is named as in the kernel (``vif3.0``, ``tap3.0``).

    Each call may be repeated.
    """

    async def attach(self, dbg: str, device: str, vif: Vif, vm: str) -> None:
        """Put a device that exists into the VIF's bridge, with its MTU, trunks and locking
        rules, and bring it up.  One that is in another bridge moves.

        No frame passes before the rules are in force.  Errors: those of the network
        daemon, Bridge_does_not_exist and Interface_does_not_exist among them.
        """

    async def lock(self, dbg: str, device: str, vif: Vif) -> None:
        """Bring the VIF's locking mode, addresses and limit into force; errors as ``attach``."""

    async def detach(self, dbg: str, device: str) -> None:
        """Take a device, which may be gone already, out of its bridge.

        Never fails; what is left over is in the log.
        """


class NoNetwork:
    """Devices that are not real."""

    async def attach(self, dbg: str, device: str, vif: Vif, vm: str) -> None:
        return None

    async def lock(self, dbg: str, device: str, vif: Vif) -> None:
        return None

    async def detach(self, dbg: str, device: str) -> None:
        return None


class NetworkDaemon:
    """The network daemon of this host; its restart goes unnoticed."""

    def __init__(self, clock: Clock, client: RpcClient) -> None:
        self._clock = clock
        self._client = client

    async def attach(self, dbg: str, device: str, vif: Vif, vm: str) -> None:
        names = {
            "xs-vm-uuid": vm,
            "xs-vif-uuid": vif.extra_private_keys.get("vif-uuid", ""),
            "xs-network-uuid": vif.extra_private_keys.get("network-uuid", ""),
        }
        place = {
            "bridge": vif.bridge,
            "mtu": vif.mtu,
            "trunks": list(vif.trunks),
            "external_ids": names,
        }
        await self._call(dbg, "Vif.attach", {"name": device, **place, **rules(vif)})

    async def lock(self, dbg: str, device: str, vif: Vif) -> None:
        await self._call(dbg, "Interface.set_locking", {"name": device, **rules(vif)})

    async def detach(self, dbg: str, device: str) -> None:
        try:
            await self._call(dbg, "Vif.detach", {"name": device})
        except (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable) as error:
            log.error("%s: %s is left over in its bridge: %s", dbg, device, error)

    async def _call(self, dbg: str, method: str, params: Mapping[str, object]) -> None:
        for left in reversed(range(RETRIES)):
            try:
                await self._client.call(method, dict(params), dbg=dbg, deadline_s=DEADLINE_S)
                return
            except RpcUnreachable:
                if not left:
                    raise
            await sleep(self._clock, RETRY_DELAY_S)


def rules(vif: Vif) -> dict[str, object]:
    """Give what a VIF may send, as the network daemon takes it.

    A VIF that follows its network comes with the network's mode; without one it is free.
    """
    mode = "unlocked" if vif.locking_mode == "network_default" else vif.locking_mode
    return {
        "mac": vif.mac,
        "mode": mode,
        "ipv4_allowed": list(vif.ipv4_allowed),
        "ipv6_allowed": list(vif.ipv6_allowed),
        "rate_kbps": vif.rate_kbps if 0 < vif.rate_kbps <= MOST_RATE_KIB else 0,
    }
