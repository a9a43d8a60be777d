"""A QEMU that exists only in memory: commands are noted, answers and refusals prepared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xenops.backends.xen.devices.surroundings import Host
from xenops.backends.xen.qemu import EmulatorFailed
from xenops.qmp.client import QmpError
from xenops.qmp.codec import Event


class FakeProcess:
    """The process of one."""

    pid = 4711

    def __init__(self) -> None:
        self.on_end: Callable[[str], None] = lambda outcome: None


class FakeQmp:
    """The connection to one; ``refuse`` maps commands to what QEMU says against them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {"query-chardev": []}
        self.refuse: dict[str, str] = {}
        self.on_event: Callable[[Event], None] = lambda event: None

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Any:
        self.calls.append((name, {**(arguments or {}), **more}))
        if name in self.refuse:
            raise QmpError(name, "GenericError", self.refuse[name])
        return self.answers.get(name, {})

    def names(self) -> list[str]:
        """Give the commands so far, and forget them."""
        found = [name for name, _ in self.calls]
        self.calls.clear()
        return found


class FakeQemu:
    """One that runs until it is stopped."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.arguments = arguments
        self.process = FakeProcess()
        self.qmp = FakeQmp()
        self.running = True

    async def stop(self) -> None:
        self.running = False

    def let_go(self) -> None:
        """It runs on."""


class FakeQemus:
    """All that were started; ``prepare`` sees each before it is used."""

    def __init__(self) -> None:
        self.started: list[FakeQemu] = []
        self.prepare: Callable[[FakeQemu], None] = lambda qemu: None
        self.refuse = ""

    async def start(
        self, host: Host, name: str, arguments: Sequence[str], fds: Mapping[int, int] | None = None
    ) -> FakeQemu:
        if self.refuse:
            raise EmulatorFailed(self.refuse)
        made = FakeQemu(name, arguments)
        self.prepare(made)
        self.started.append(made)
        return made

    async def adopt(self, host: Host, name: str, pid: int) -> FakeQemu | None:
        alive = [q for q in self.started if q.running and (q.name, q.process.pid) == (name, pid)]
        return alive[0] if alive else None
