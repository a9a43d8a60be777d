"""Memory of hosts promised to VMs: those that run and those about to start."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan import memory

_NOWHERE = frozenset({NULL_REF, ""})


class Reservations:
    """The sums over VMs that placement needs, kept up to date by their changes.

    Reservations for starts are this process's own: none is left after a restart.
    """

    def __init__(self) -> None:
        self._db: Database | None = None
        self._generation = 0
        self._promised: defaultdict[str, int] = defaultdict(int)
        self._of_vm: dict[str, tuple[frozenset[str], int]] = {}

    def bind(self, db: Database) -> None:
        """Count the VMs of a database; linear, once."""
        self._db = db
        self._count_all(db)

    def free_bytes(self, view: View, host: Row, skip: str = NULL_REF) -> int:
        """Give the memory a host can promise to another VM, never below zero.

        ``skip`` is a VM that does not count.  Cost: the VMs that changed since
        the last time.
        """
        if self._db is None:
            return memory.free_bytes(view, host, skip)
        self._catch_up(self._db)
        hosts, amount = self._of_vm.get(skip, (_NOWHERE, 0))
        own = amount if host.ref in hosts else 0
        return max(0, memory.guest_capacity_bytes(view, host) - self._promised[host.ref] + own)

    def _catch_up(self, db: Database) -> None:
        if db.generation == self._generation:
            return
        changes = db.changes("VM", self._generation)
        if changes.incomplete:
            self._count_all(db)
            return
        self._generation = db.generation
        for vm in (*changes.added, *changes.modified):
            self._count(vm)
        for ref, _, _ in changes.deleted:
            self._drop(ref)

    def _count_all(self, db: Database) -> None:
        self._generation = db.generation
        self._promised.clear()
        self._of_vm.clear()
        for vm in db.rows("VM"):
            self._count(vm)

    def _count(self, vm: Row) -> None:
        self._drop(vm.ref)
        hosts = frozenset({vm.resident_on, vm.scheduled_to_be_resident_on}) - _NOWHERE
        if hosts:
            amount = memory.promise_of(vm)
            self._of_vm[vm.ref] = (hosts, amount)
            for host in hosts:
                self._promised[host] += amount

    def _drop(self, ref: str) -> None:
        hosts, amount = self._of_vm.pop(ref, (frozenset(), 0))
        for host in hosts:
            self._promised[host] -= amount

    @contextmanager
    def hold(self, db: Database, vm: Ref, host: Ref) -> Iterator[None]:
        """Promise the host's memory to the VM for the length of a block."""
        with db.transaction() as tx:
            tx.set("VM", vm, "scheduled_to_be_resident_on", host)
        try:
            yield
        finally:
            row = db.find("VM", vm)
            if row is not None and row.scheduled_to_be_resident_on == host:
                with db.transaction() as tx:
                    tx.set("VM", vm, "scheduled_to_be_resident_on", NULL_REF)
