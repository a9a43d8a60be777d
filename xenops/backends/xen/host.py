"""What all parts of the Xen backend work with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from xenops.backends.contract import Change, Listener
from xenops.bindings.interface import Hypervisor
from xenops.xenstore.client import XenStore

T = TypeVar("T")


@dataclass(slots=True)
class XenHost:
    """This host: its store, its hypervisor, its reactor and where files go.

    ``run_folder`` is for sockets and process ids, ``state`` for what outlives
    a restart of the host.
    """

    store: XenStore
    xc: Hypervisor
    reactor: Any
    run_folder: Path
    state: Path
    listener: Listener = field(default=lambda change: None)

    def announce(self, change: Change) -> None:
        """Tell the daemon about a change that no call of it made."""
        self.listener(change)

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a call that blocks, off the reactor; it is not interrupted by cancelling."""
        pool = self.reactor.getThreadPool()
        running: Deferred[T] = deferToThreadPool(self.reactor, pool, function, *arguments)
        return await running
