"""Which VMs are about to run on which host: memory promised but not yet taken."""

from collections.abc import Iterator
from contextlib import contextmanager

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.database import Database


class Reservations:
    """The index over ``VM.scheduled_to_be_resident_on``, kept by who writes it.

    Reservations are this process's own: none is left after a restart.
    """

    def __init__(self) -> None:
        self._of_host: dict[str, set[Ref]] = {}

    def scheduled(self, host: str) -> tuple[Ref, ...]:
        """Give the VMs that are about to run on a host."""
        return tuple(self._of_host.get(host, ()))

    @contextmanager
    def hold(self, db: Database, vm: Ref, host: Ref) -> Iterator[None]:
        """Promise the host's memory to the VM for the length of a block."""
        held = self._of_host.setdefault(host, set())
        held.add(vm)
        with db.transaction() as tx:
            tx.set("VM", vm, "scheduled_to_be_resident_on", host)
        try:
            yield
        finally:
            held.discard(vm)
            row = db.find("VM", vm)
            if row is not None and row.scheduled_to_be_resident_on == host:
                with db.transaction() as tx:
                    tx.set("VM", vm, "scheduled_to_be_resident_on", NULL_REF)
