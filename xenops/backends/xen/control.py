"""A running domain: stopping, going on, processors, what the administrator wrote."""

from collections.abc import Mapping
from typing import Final

from xenops import errors, memory
from xenops.backends.contract import GuestRequest, ShutdownReason
from xenops.backends.xen import layout, paths
from xenops.backends.xen.domains import Domains, XenDomain
from xenops.backends.xen.host import XenHost
from xenops.bindings.errors import XenError
from xenops.bindings.interface import HvmParam
from xenops.xenstore.client import Transaction
from xenops.xenstore.errors import NoEntry, StoreTimeout

REASONS: Final = {
    0: ShutdownReason.POWEROFF,
    1: ShutdownReason.REBOOT,
    2: ShutdownReason.SUSPEND,
    3: ShutdownReason.CRASH,
    4: ShutdownReason.WATCHDOG,
    5: ShutdownReason.SOFT_RESET,
}
"""Xen's numbers for why a domain has stopped."""

_CODES: Final = {"poweroff": 0, "halt": 0, "reboot": 1, "suspend": 2}


def reason_of(code: int | None) -> ShutdownReason | None:
    """Give the reason for Xen's number; an unknown one counts as switched off."""
    return None if code is None else REASONS.get(code, ShutdownReason.POWEROFF)


class Control:
    """Effects on running domains."""

    def __init__(self, host: XenHost, domains: Domains) -> None:
        self._host = host
        self._domains = domains

    def shutdown_reason(self, domid: int) -> ShutdownReason | None:
        """Give why a domain has stopped, None while it runs.  Errors: Does_not_exist."""
        return reason_of(self._domains.info(domid).shutdown)

    async def pause(self, domid: int) -> None:
        """Stop the domain's processors."""
        self._domains.info(domid)
        self._host.xc.pause(domid)

    async def unpause(self, domid: int) -> None:
        """Let the domain's processors run."""
        if self._domains.info(domid).paused:
            self._host.xc.unpause(domid)

    async def clear_action_request(self, domid: int) -> None:
        """Make the domain survivable."""
        domain = self._domains.get(domid)
        await self._host.store.remove(f"{paths.home(domid)}/action-request")
        domain.mirror.drop("action-request")
        domain.record.survivable = True
        await self._domains.save(domain)

    async def request_shutdown(
        self, domid: int, request: GuestRequest, ack_timeout_s: float
    ) -> bool:
        """Ask the guest to stop; whether it took notice in time.

        An emulated machine without drivers has its power button pressed; one that
        does not obey in time, or is to be reset, is stopped at once.
        """
        domain = self._domains.get(domid)
        if self.shutdown_reason(domid) is not None:
            return True
        if domain.hvm and not self._host.xc.hvm_param(domid, HvmParam.CALLBACK_IRQ):
            await self._without_drivers(domid, request, ack_timeout_s)
            return True
        path = f"{paths.home(domid)}/control/shutdown"
        await self._host.store.transaction(lambda tx: _ask(tx, domid, request))

        async def noticed() -> bool | None:
            if await self._host.store.read_or(path) in (None, ""):
                return True
            return True if self.shutdown_reason(domid) is not None else None

        try:
            watched = [path, "@releaseDomain"]
            return await self._host.store.wait_until(watched, noticed, ack_timeout_s)
        except StoreTimeout:
            return False

    async def _without_drivers(self, domid: int, request: GuestRequest, timeout_s: float) -> None:
        if request != "reboot":
            self._host.xc.send_trigger(domid, "power")
            if await self.wait_shutdown(domid, timeout_s) is not None:
                return
        self._host.xc.shutdown(domid, _CODES[request])

    async def wait_shutdown(self, domid: int, timeout_s: float) -> ShutdownReason | None:
        """Wait until the domain has stopped; None when it did not in time."""

        async def stopped() -> ShutdownReason | None:
            return self.shutdown_reason(domid)

        try:
            return await self._host.store.wait_until(["@releaseDomain"], stopped, timeout_s)
        except StoreTimeout:
            return None

    async def resume_fast(self, domid: int) -> None:
        """Let a domain that stopped to suspend go on where it was."""
        domain = self._domains.get(domid)
        home = paths.home(domid)
        await self._host.store.write(f"{home}/control/shutdown", "")
        await self._host.in_thread(lambda: self._host.xc.resume(domid, fast=True))
        domain.told_shutdown = False
        await self._host.store.resume(domid)

    async def set_vcpus(self, domid: int, count: int) -> None:
        """Say which of its processors the guest is to use."""
        domain = self._domains.get(domid)
        keys = layout.availability(domain.record.vcpu_max, count)
        home = paths.home(domid)
        await self._host.store.write_many({f"{home}/{key}": v for key, v in keys.items()})
        domain.record.vcpus = count
        await self._domains.save(domain)

    async def set_shadow_multiplier(self, domid: int, multiplier: float) -> None:
        """Give the guest's page tables more or less room.  Errors: Cannot_free_this_much_memory."""
        domain = self._domains.get(domid)
        record = domain.record
        static_max_mib = -(-record.static_max // (1 << 20))
        mib = memory.shadow_mib(static_max_mib, record.vcpu_max, multiplier)
        try:
            await self._host.in_thread(self._host.xc.set_shadow_mib, domid, mib)
        except XenError as error:
            free = self._host.xc.physical_info().free_pages * 4096
            raise errors.cannot_free_this_much_memory(mib << 20, free) from error
        record.shadow_multiplier = multiplier
        await self._domains.save(domain)

    async def set_xsdata(self, domid: int, data: Mapping[str, str]) -> None:
        """Replace what the administrator has written for the guest."""
        domain = self._domains.get(domid)
        home, kept = paths.home(domid), layout.guest_data(data)

        async def replace(tx: Transaction) -> None:
            tx.remove_many([f"{home}/vm-data", f"{home}/FIST"])
            tx.mkdir(f"{home}/vm-data")
            tx.set_permissions(f"{home}/vm-data", paths.owned_by(domid))
            tx.write_many({f"{home}/{key}": value for key, value in kept.items()})
            await tx.settled()

        await self._host.store.transaction(replace)
        domain.mirror.drop("vm-data")
        domain.mirror.drop("FIST")
        for key, value in kept.items():
            domain.mirror.put(key, value)

    async def s3_suspend(self, domid: int) -> None:
        """Ask an emulated machine to sleep."""
        self._emulated(domid)
        await self._host.store.write(f"{paths.home(domid)}/control/shutdown", "s3")

    async def s3_resume(self, domid: int) -> None:
        """Wake a sleeping emulated machine."""
        self._emulated(domid)
        self._host.xc.set_hvm_param(domid, HvmParam.ACPI_S_STATE, 0)

    def _emulated(self, domid: int) -> XenDomain:
        domain = self._domains.get(domid)
        if not domain.hvm:
            raise errors.unimplemented("sleeping guests without emulated hardware")
        return domain


async def _ask(tx: Transaction, domid: int, request: str) -> None:
    home = paths.home(domid)
    try:
        await tx.read(f"{home}/domid")
    except NoEntry:
        raise errors.does_not_exist("domain", str(domid)) from None
    tx.remove(f"{home}/control/shutdown")
    tx.write(f"{home}/control/shutdown", request)
    await tx.settled()
