"""A copy of what a guest and its tools write into the domain's part of xenstore.

Kept by one watch, so that questions about a domain need no round trip.  What a
guest writes is not trusted: how much is kept has a limit.
"""

import logging
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xenops.xenstore.client import Watch, XenStore
from xenops.xenstore.errors import StoreError

log = logging.getLogger(__name__)

KEPT: Final = frozenset(
    (
        *("attr", "console", "control", "cpu", "data", "drivers", "error", "feature", "memory"),
        *("messages", "serial", "vm-data", "FIST", "xenserver", "action-request"),
        *("qemu-pid-signal", "rrd"),
    )
)
"""First parts of the paths that are copied."""

QUIET: Final = frozenset(
    {"data/meminfo_free", "data/updated", "data/update_cnt", "data/meminfo_total"}
)
"""Keys that agents touch all the time and nobody is told about."""

LIMIT: Final = 2 * 1024 * 1024
"""Most characters kept of one guest."""


class Mirror:
    """The keys below ``home`` by relative path, in ``keys``.

    ``changed`` is called with each relative path that got another value, once
    the copy has it.
    """

    def __init__(self, store: XenStore, home: str, changed: Callable[[str], object]) -> None:
        self.keys: dict[str, str] = {}
        self._store = store
        self._home = home
        self._changed = changed
        self._watch: Watch | None = None
        self._reading: set[str] = set()
        self._again: set[str] = set()
        self._size = 0
        self._full = False
        self._known = False

    def begin(self) -> None:
        """Follow from now on; what is there now was all noted by ``put``."""
        self._known = True
        self._watch = self._store.watch(self._home, self._event)

    async def fill(self) -> None:
        """Take over what is there now, and follow it from now on."""
        self.begin()
        await self._read_all()

    def stop(self) -> None:
        """Follow no more; what was copied stays."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def put(self, path: str, value: str) -> None:
        """Note what we have written ourselves."""
        self._set(path, value)

    def drop(self, path: str) -> None:
        """Note that we have removed a node with all below it."""
        for name in [n for n in self.keys if n == path or n.startswith(path + "/")]:
            self._size -= len(name) + len(self.keys.pop(name))

    def _event(self, path: str) -> None:
        if path == self._home:
            if self._known:
                self._known = False  # the watch has been set: nothing has changed
            else:
                self._begin("")
            return
        name = path[len(self._home) + 1 :]
        if name.partition("/")[0] in KEPT:
            self._begin(name)

    def _begin(self, name: str) -> None:
        if name in self._reading:
            self._again.add(name)
            return
        self._reading.add(name)
        work = self._read(name) if name else self._read_all()
        Deferred.fromCoroutine(work).addErrback(self._failed).addBoth(self._done, name)

    def _done(self, result: object, name: str) -> None:
        self._reading.discard(name)
        if name in self._again and self._watch is not None:
            self._again.discard(name)
            self._begin(name)

    def _failed(self, failure: Failure) -> None:
        failure.trap(StoreError)  # the domain or xenstored is gone

    async def _read(self, name: str) -> None:
        value = await self._store.read_or(f"{self._home}/{name}")
        if self._watch is None:
            return
        if value is not None:
            self._note(name, value)
            return
        for lost in [n for n in self.keys if n == name or n.startswith(name + "/")]:
            self.drop(lost)
            self._tell(lost)

    async def _read_all(self) -> None:
        tops = await self._store.directory(self._home)
        found: dict[str, str] = {}
        for top in tops:
            if top in KEPT:
                value = await self._store.read_or(f"{self._home}/{top}")
                if value is not None:
                    found[top] = value
                    tree = await self._store.tree(f"{self._home}/{top}")
                    found.update({f"{top}/{name}": text for name, text in tree.items()})
        for name in [n for n in self.keys if n not in found]:
            self.drop(name)
            self._tell(name)
        for name, value in found.items():
            self._note(name, value)

    def _note(self, name: str, value: str) -> None:
        if self.keys.get(name) != value and self._set(name, value):
            self._tell(name)

    def _set(self, name: str, value: str) -> bool:
        old = self.keys.get(name)
        grown = len(value) - len(old) if old is not None else len(name) + len(value)
        if self._size + grown > LIMIT:
            if not self._full:
                log.warning("%s: too much is written; more is ignored", self._home)
            self._full = True
            return False
        self._size += grown
        self.keys[name] = value
        return True

    def _tell(self, name: str) -> None:
        if name not in QUIET:
            self._changed(name)
