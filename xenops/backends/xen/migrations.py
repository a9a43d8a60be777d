"""Guests on their way to and from other hosts: the daemon's half.

The worker process talks to the other host; what it asks on the way is answered
here: by the steps of the operation, by the emulator, by the build.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.rpc.errors import RpcError
from xenops.backends.contract import Migration, ReceiveSteps, SendSteps
from xenops.backends.xen.build import Build, Ports
from xenops.backends.xen.device_model import DeviceModel
from xenops.backends.xen.domains import Domains
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.images import about
from xenops.backends.xen.worker import WorkerError, Workers
from xenops.bindings.builder import Loaded
from xenops.bindings.errors import XenError
from xenops.bindings.interface import PAGE
from xenops.metadata import VmConfig
from xenops.qmp.client import QmpError, QmpLost
from xenops.xenstore.errors import StoreError

log = logging.getLogger(__name__)

Message = Mapping[str, Any]
FAILURES = (RpcError, QmpError, QmpLost, StoreError, XenError, OSError)
"""What a step may fail with; the other host is told."""


class Migrations:
    """Sends and receives, each in a process of its own."""

    def __init__(
        self,
        host: XenHost,
        domains: Domains,
        build: Build,
        workers: Workers,
        model: DeviceModel,
    ) -> None:
        self._host = host
        self._domains = domains
        self._build = build
        self._workers = workers
        self._model = model

    async def send(
        self, domid: int, address: str, hello: Mapping[str, Any], steps: SendSteps
    ) -> Migration:
        """Give a running domain to another host; see the backend contract."""
        domain = self._domains.get(domid)
        memory_bytes = self._domains.info(domid).total_pages * PAGE
        request = {
            "domid": domid,
            "memory_bytes": memory_bytes,
            "about": about(domain.vm, domain.domain_type, memory_bytes),
            "address": address,
            "hello": dict(hello),
        }
        answers = _Sending(self._model, domid, steps)
        try:
            found = await self._workers.run("send", request, answers.answer)
        except WorkerError as problem:
            outcome = Migration("unknown" if answers.let_go else "here", str(problem))
        else:
            outcome = Migration(found["outcome"], answers.problem or found.get("text", ""))
        if outcome.outcome == "here" and answers.emulator_stopped:
            log.info("domain %d goes on: %s", domid, outcome.text)
        return outcome

    async def receive(
        self, vm: VmConfig, token: str, steps: ReceiveSteps, listening: Callable[[str], None]
    ) -> Migration:
        """Take a domain over; see the backend contract.

        Ends as soon as it is decided; the process stays for a while to tell the
        source, should it have lost the link.
        """
        path = str(self._host.run_folder / f"receive-{vm.id}.sock")
        answers = _Receiving(self._build, self._model, vm, steps, lambda: listening(path))
        request = {"path": path, "token": token}
        running = Deferred.fromCoroutine(self._workers.run("receive", request, answers.answer))

        def ended(result: object) -> None:
            if not answers.ended.called:
                text = str(result.value) if isinstance(result, Failure) else "it ended early"
                answers.ended.callback(Migration("here", text))
            elif isinstance(result, Failure):
                log.info("%s: %s", vm.id, result.value)

        running.addBoth(ended)
        return await answers.ended


class _Sending:
    """Answers of the source's side."""

    def __init__(self, model: DeviceModel, domid: int, steps: SendSteps) -> None:
        self._model = model
        self._domid = domid
        self._steps = steps
        self.let_go = False
        self.emulator_stopped = False
        self.problem = ""

    async def answer(self, message: Message) -> Any:
        """Give the answer; a step that fails is answered no, and remembered."""
        try:
            return await self._answer(message)
        except FAILURES as problem:
            self.problem = str(problem)
            log.error("migration of domain %d: %s", self._domid, problem)
            return None

    async def _answer(self, message: Message) -> Any:
        match message["do"]:
            case "suspend":
                await self._steps.suspend()
                return True
            case "log_dirty":
                await self._model.log_dirty(self._domid, bool(message["enable"]))
                return True
            case "emulator":
                path = await self._model.save_state(self._domid)
                self.emulator_stopped = path is not None
                return "" if path is None else str(path)
            case "let_go":
                await self._steps.let_go()
                self.let_go = True
                return True
            case "progress":
                self._steps.progress(float(message["percent"]) / 100)
        return None


class _Receiving:
    """Answers of the target's side; ``ended`` fires once it is decided."""

    def __init__(
        self,
        build: Build,
        model: DeviceModel,
        vm: VmConfig,
        steps: ReceiveSteps,
        listening: Callable[[], None],
    ) -> None:
        self._build = build
        self._model = model
        self._vm = vm
        self._steps = steps
        self._listening = listening
        self._domid = -1
        self._ports: Ports | None = None
        self.ended: Deferred[Migration] = Deferred()

    async def answer(self, message: Message) -> Any:
        """Give the answer; a step that fails says why."""
        try:
            return await self._answer(message)
        except FAILURES as problem:
            log.error("%s: %s: %s", self._vm.id, message["do"], problem)
            return {"failed": str(problem)}

    async def _answer(self, message: Message) -> Any:
        match message["do"]:
            case "listening":
                self._listening()
            case "create":
                return await self._create(message["hello"])
            case "finish":
                loaded = Loaded(message["store_mfn"], message["console_mfn"])
                ports = cast(Ports, self._ports)
                await self._build.finish(self._domid, self._vm, ports, loaded)
            case "run":
                await self._steps.run()
            case "ended":
                outcome: Any = "there" if message["running"] else "here"
                if not self.ended.called:
                    self.ended.callback(Migration(outcome, message["text"]))
        return {}

    async def _create(self, hello: Mapping[str, Any]) -> dict[str, Any]:
        self._domid = await self._steps.create(hello)
        self._ports = await self._build.prepare(self._domid, self._vm)
        return {
            "domid": self._domid,
            "store_port": self._ports.store,
            "console_port": self._ports.console,
            "emulator": str(self._model.state_path(self._domid)),
        }
