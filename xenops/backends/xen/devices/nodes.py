"""Where a device is in xenstore, and what every device has there; pure.

A device has four places: the frontend, which belongs to the guest; the backend,
which the guest may read; a mirror and private keys that only the control
domain sees.  What devices a domain has is read from the mirror alone, because
the guest may delete or change its own nodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from xenops.backends.xen import paths


class State(IntEnum):
    """The states of the handshake between frontend and backend."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8


def state_of(text: str | None) -> State:
    """Read a state; what the guest made up is unknown."""
    try:
        return State(int(text or "0"))
    except ValueError:
        return State.UNKNOWN


@dataclass(frozen=True, slots=True)
class Node:
    """A node to write; without ``access`` it has its parent's permissions."""

    path: str
    value: str = ""
    access: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A device of a domain.

    ``kind`` is what the guest sees (vbd, vif), ``backend_kind`` who serves it.
    """

    domid: int
    vm: str
    kind: str
    devid: int
    backend_kind: str = ""
    backend_domid: int = 0

    @property
    def frontend(self) -> str:
        """The guest's side."""
        return paths.frontend(self.domid, self.kind, self.devid)

    @property
    def backend(self) -> str:
        """Our side."""
        kind = self.backend_kind or self.kind
        return paths.backend_path(self.backend_domid, kind, self.domid, self.devid)

    @property
    def mirror(self) -> str:
        """What we know to exist."""
        return f"{paths.mirror(self.domid)}/device/{self.kind}/{self.devid}"

    @property
    def private(self) -> str:
        """What only we need to know."""
        return f"{paths.private(self.vm)}/private/{self.kind}/{self.devid}"

    @property
    def hotplug(self) -> str:
        """Where the set-up on the control domain's side is reported."""
        return f"{paths.private(self.vm)}/hotplug/{self.domid}/{self.kind}/{self.devid}"

    @property
    def error(self) -> str:
        """Where the guest says why it refuses something."""
        return f"{paths.home(self.domid)}/error/device/{self.kind}/{self.devid}/error"


def device_nodes(
    place: Place,
    frontend: Mapping[str, str],
    backend: Mapping[str, str],
    private: Mapping[str, str],
    record: str,
) -> list[Node]:
    """Give all nodes of a new device in the order in which they are written.

    Both sides begin in state Initialising; ``record`` is our own text, found
    again in the mirror.
    """
    guest, ours = f"{place.domid}", f"{place.backend_domid}"
    front = {"backend": place.backend, "backend-id": ours, **frontend, "state": "1"}
    back = {
        "frontend": place.frontend,
        "frontend-id": guest,
        "online": "1",
        **backend,
        "state": "1",
    }
    mirror = {"backend": place.backend, "backend-id": ours, "record": record}
    return [
        Node(place.mirror, "", paths.DOM0_ONLY),
        *_below(place.mirror, mirror),
        Node(place.private, "", paths.DOM0_ONLY),
        *_below(place.private, private),
        Node(place.backend, "", (f"n{ours}", f"r{guest}")),
        *_below(place.backend, back),
        Node(place.frontend, "", (f"n{guest}", f"r{ours}")),
        *_below(place.frontend, front),
    ]


def mirror_nodes(place: Place, private: Mapping[str, str], record: str) -> list[Node]:
    """Give our own nodes of a device whose two sides somebody else writes."""
    mirror = {"backend": place.backend, "backend-id": f"{place.backend_domid}", "record": record}
    return [
        Node(place.mirror, "", paths.DOM0_ONLY),
        *_below(place.mirror, mirror),
        Node(place.private, "", paths.DOM0_ONLY),
        *_below(place.private, private),
    ]


def leftovers(place: Place) -> list[str]:
    """Give the trees to remove once a device is gone."""
    error = place.error.rpartition("/")[0]
    return [
        place.frontend,
        place.backend,
        place.private,
        place.hotplug,
        error,
        place.mirror,
    ]


def _below(base: str, values: Mapping[str, str]) -> list[Node]:
    return [Node(f"{base}/{key}", value) for key, value in values.items()]
