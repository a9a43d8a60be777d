"""How a device comes and goes: both sides' nodes, their states, and what is left over.

No script runs: the control domain's side is set up by us, and the state nodes
are watched until the other side has followed or the time is over.

Plugging: nodes are written in one transaction; the backend driver answers with
state InitWait or worse; the guest connects when it likes.  Unplugging: the
backend is set Closing, the guest follows with Closed, or with a reason why not
in its error node.  By force the guest's side is deleted first, after which the
backend driver gives up.
"""

from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock

from xenops import errors
from xenops.backends.xen import paths
from xenops.backends.xen.devices.nodes import Node, Place, State, leftovers, state_of
from xenops.xenstore.client import Transaction, XenStore
from xenops.xenstore.errors import StoreTimeout

HOTPLUG_S: Final = 300.0
"""How long a guest, or a backend driver, may take."""


class Handshake:
    """The protocol, for devices of any kind.  Device creations go one at a time."""

    def __init__(self, store: XenStore) -> None:
        self._store = store
        self._creating = DeferredLock()

    async def create(self, place: Place, nodes: Sequence[Node]) -> None:
        """Write a new device, all at once.

        Errors: Device_is_connected; Does_not_exist when the domain is gone.
        """

        async def write(tx: Transaction) -> None:
            there = tx.read_or(f"{place.mirror}/record")
            home = tx.read_or(f"{paths.home(place.domid)}/vm")
            if await there is not None:
                raise errors.device_is_connected(place.kind.upper(), str(place.devid))
            if await home is None:
                raise errors.does_not_exist("domain", str(place.domid))
            for node in nodes:
                _ignore(tx.write(node.path, node.value))
                if node.access is not None:
                    _ignore(tx.set_permissions(node.path, node.access))

        await self._creating.acquire()
        try:
            await self._store.transaction(write)
        finally:
            self._creating.release()

    async def backend_ready(self, place: Place, ready: State = State.INIT_WAIT) -> None:
        """Wait until the backend driver has taken the device over: it is ``ready`` or further.

        Errors: Hotplug_failed with what the driver says.
        """
        error = f"{paths.home(place.backend_domid)}/error/{_from_home(place.backend)}/error"

        async def check() -> bool | None:
            found = await self._store.read_many([f"{place.backend}/state", error])
            state = state_of(found.get(f"{place.backend}/state"))
            if found.get(error):
                raise errors.hotplug_failed(place.kind.upper(), str(place.devid), found[error])
            if state in (State.CLOSING, State.CLOSED):
                text = "the backend driver has closed it"
                raise errors.hotplug_failed(place.kind.upper(), str(place.devid), text)
            return True if state >= ready else None

        try:
            await self._store.wait_until([place.backend, error], check, HOTPLUG_S)
        except StoreTimeout:
            text = "the backend driver does not take it"
            raise errors.hotplug_failed(place.kind.upper(), str(place.devid), text) from None

    async def close(self, place: Place, device: str) -> None:
        """Ask the guest to let a device go and wait until it has.

        Errors: Device_detach_rejected with the guest's reason, or when it says nothing.
        """
        await self._store.remove(place.error)
        await self._store.write_many({f"{place.backend}/online": "0"})
        await self._store.write_many({f"{place.backend}/state": f"{State.CLOSING:d}"})
        await self.closed(place, device)

    async def closed(self, place: Place, device: str) -> None:
        """Wait until a device that is being closed has gone; errors as ``close``."""
        sides = [f"{place.frontend}/state", f"{place.backend}/state", place.error]

        async def check() -> bool | None:
            found = await self._store.read_many(sides)
            front, back, refused = (found.get(path) for path in sides)
            if refused:
                raise errors.device_detach_rejected(place.kind.upper(), device, refused)
            gone = back is None or state_of(back) is State.CLOSED
            # A guest that never looked at the device has nothing to close.
            unseen = state_of(front) <= State.INITIALISING
            return True if gone or front is None or unseen else None

        watched = [place.frontend, place.backend, place.error]
        try:
            await self._store.wait_until(watched, check, HOTPLUG_S)
        except StoreTimeout:
            text = "the guest does not answer"
            raise errors.device_detach_rejected(place.kind.upper(), device, text) from None

    async def cut(self, place: Place) -> None:
        """Take a device from a guest without asking it; the backend driver gives up."""
        await self._store.remove(place.frontend)

        async def close(tx: Transaction) -> None:
            if await tx.read_or(f"{place.backend}/state") is not None:
                _ignore(tx.write(f"{place.backend}/online", "0"))
                _ignore(tx.write(f"{place.backend}/state", f"{State.CLOSING:d}"))

        await self._store.transaction(close)

    async def remove_sides(self, place: Place) -> None:
        """Remove both sides, so that drivers that are left have nothing to look at."""
        await self._store.remove_many([place.frontend, place.backend])

    async def remove(self, place: Place) -> None:
        """Remove everything of a device; the mirror last, so that nothing is forgotten."""
        trees = leftovers(place)
        await self._store.remove_many(trees[:-1])
        await self._store.remove(trees[-1])


def _ignore(answer: "Deferred[None]") -> None:
    """Leave a failure to the transaction, which reports it."""
    answer.addErrback(lambda failure: None)


def _from_home(path: str) -> str:
    """Give a path below /local/domain/N relative to that."""
    return path.split("/", 4)[4]
