"""Which devices their guests use: the state of each backend, followed by a watch."""

from xenops.backends.contract import Change
from xenops.backends.xen.devices.nodes import Place, State, state_of
from xenops.backends.xen.devices.surroundings import Host
from xenops.xenstore.client import Watch


class DeviceStates:
    """States of the devices of a kind; a change of one is announced."""

    def __init__(self, host: Host, kind: str) -> None:
        self._host = host
        self._kind = kind
        self._states: dict[int, dict[str, State]] = {}
        self._followed: set[tuple[int, str]] = set()
        self._watches: dict[tuple[int, str], Watch] = {}

    def connected(self, domid: int) -> bool:
        """Whether the guest is connected to one of its devices."""
        return State.CONNECTED in self._states.get(domid, {}).values()

    def follow(self, place: Place, change: Change) -> None:
        """Look at a device from now on; ``change`` is what to announce."""
        domid, device = place.domid, change.device
        self.drop(domid, device)
        path = f"{place.backend}/state"

        def look(changed: str) -> None:
            self._host.store.read_or(path).addCallbacks(found, lambda failure: None)

        def found(text: str | None) -> None:
            if (domid, device) not in self._followed:
                return
            states = self._states.setdefault(domid, {})
            before, now = states.get(device), state_of(text)
            states[device] = now
            if before is not None and before is not now:
                self._host.announce(change)

        self._followed.add((domid, device))
        self._watches[domid, device] = self._host.store.watch(path, look)

    def drop(self, domid: int, device: str) -> None:
        """Look at a device no longer."""
        self._followed.discard((domid, device))
        watch = self._watches.pop((domid, device), None)
        if watch is not None:
            watch.stop()
        self._states.get(domid, {}).pop(device, None)

    def forget(self, domid: int) -> None:
        """Look at none of a domain's devices any longer."""
        for key in [key for key in self._watches if key[0] == domid]:
            self.drop(*key)
        self._states.pop(domid, None)
