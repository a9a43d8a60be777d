"""Workers and tools of file drivers inside the test's process: calls end before they return."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sm import errors
from sm.files import qemu
from sm.files.calls import Worker
from sm.files.kinds import Host
from sm.files.mounts import System
from xapi_py.base.rpc.errors import RpcError


class Killed(BaseException):
    """The worker dies here; nothing of it runs any more."""


class InProcessWorker:
    """A worker; values go through JSON as they do on a pipe."""

    def __init__(self, hello: Mapping[str, object], system: System) -> None:
        self.notes: Callable[[Sequence[str]], object] = lambda _: None
        self.gone = False
        self._crash, self._left = "", 0
        host = Host(
            Path(str(hello["run_folder"])), str(hello["host"]), bool(hello["smb_licensed"]), system
        )
        if hasattr(system, "step"):
            system.step = self._step
        self._worker = Worker(str(hello["type"]), host, lambda *i: self.notes(i), self._step)

    def _step(self, step: str) -> None:
        name, _, number = self._crash.partition(":")
        if name == step:
            self._left += 1
            if self._left == int(number or 1):
                raise Killed(step)

    async def call(
        self, method: str, params: Mapping[str, object], deadline_s: float, crash: str = ""
    ) -> Any:
        self._crash, self._left = crash, 0
        try:
            found = self._worker.call(method, json.loads(json.dumps(params)))
        except Killed:
            self.gone = True
            raise errors.backend_failure(errors.SR_UNAVAILABLE, "its driver has ended") from None
        return json.loads(json.dumps(found))

    def end(self) -> None:
        self.gone = True


class DoneTool:
    """A command that has ended already."""

    progress = 1.0

    def __init__(self, problem: RpcError | None) -> None:
        self._problem = problem

    async def ended(self) -> None:
        if self._problem is not None:
            raise self._problem

    def kill(self) -> None:
        """It has ended."""


class InProcessChildren:
    """Children without processes, but for tools."""

    def __init__(self, system: System | None = None) -> None:
        self.system = system or System()
        self.commands: list[Sequence[str]] = []
        self.tool_fails = ""

    def worker(self, hello: Mapping[str, object]) -> InProcessWorker:
        return InProcessWorker(hello, self.system)

    def tool(self, command: Sequence[str], idle_s: float) -> DoneTool:
        self.commands.append(command)
        if self.tool_fails:
            return DoneTool(qemu.failure(self.tool_fails))
        done = subprocess.run(command, capture_output=True, text=True)
        return DoneTool(qemu.failure(done.stderr) if done.returncode else None)

    async def sleep(self, seconds: float) -> None:
        """Do not: what is waited for does not wait for us."""
