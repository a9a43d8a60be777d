"""A sample every five seconds of what the daemons of this host count."""

import logging
import os
import resource
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.base.slices import Slices, Steps, finished
from xapi_py.base.waiting import sleep
from xapi_py.db.database import Database
from xapi_py.metrics.readings import (
    Traffic,
    host_readings,
    server_readings,
    sr_readings,
    traffic_readings,
    vm_readings,
)
from xapi_py.metrics.series import STEP_S
from xapi_py.metrics.store import Metrics, Owner, OwnerKind
from xapi_py.pool.gateway import Daemon, HostGateway

log = logging.getLogger(__name__)

Figures = Mapping[str, Any]

SAVE_EVERY_SAMPLES = 12
SAVED_AT_ONCE = 8
"""Files written once a minute or so in one go; more wait for the next sample."""

_FAILURES = (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)


class Sampler:
    """Takes samples of one host until it is cancelled."""

    def __init__(
        self, db: Database, gateway: HostGateway, metrics: Metrics, clock: Clock, slices: Slices
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._metrics = metrics
        self._clock = clock
        self._slices = slices

    async def run(self) -> None:
        """Take a sample at every multiple of the step, and save now and then."""
        count = 0
        while True:
            now = self._clock.seconds()
            await sleep(self._clock, STEP_S - now % STEP_S)
            await self.sample()
            count += 1
            if count % SAVE_EVERY_SAMPLES == 0:
                await self._save()

    async def sample(self) -> None:
        """Take one sample; daemons that do not answer leave their part unknown."""
        time = round(self._clock.seconds() / STEP_S) * STEP_S
        vms = await self._ask(self._gateway.xenops, "VM.metrics")
        host = await self._ask(self._gateway.xenops, "HOST.metrics")
        devices = await self._ask(self._gateway.networkd, "Network.stats")
        try:
            await finished(self._slices.run(self._take(time, vms, host, devices)))
        except CancelledError:
            raise
        except Exception:
            log.exception("a sample of metrics is lost")

    async def _ask(self, daemon: Daemon, method: str) -> Figures:
        try:
            answer = await daemon.read(method, {}, dbg="metrics")
        except _FAILURES:
            return {}
        if isinstance(answer, dict) and "cursor" in answer and "result" in answer:
            answer = answer["result"]
        return answer if isinstance(answer, dict) else {}

    def _take(self, time: int, vms: Figures, host: Figures, devices: Figures) -> Steps[None]:
        metrics, traffic = self._metrics, dict[str, Traffic]()
        for uuid, figures in vms.items():
            owner = metrics.record("vm", uuid, time, vm_readings(figures))
            self._add_traffic(owner, traffic)
            yield
        for pbd in self._local_srs():
            sr = self._db.find("SR", pbd)
            if sr is not None:
                own = traffic.setdefault(sr.uuid, Traffic())
                readings = sr_readings(sr.physical_size, sr.physical_utilisation, own)
                metrics.record("sr", sr.uuid, time, readings)
                yield
        me = self._db.find("host", self._gateway.host)
        if me is not None and host:
            readings_ = list(host_readings(host, devices))
            for uuid, flow in traffic.items():
                readings_ += traffic_readings(uuid, flow)
            readings_ += self._server()
            metrics.record("host", me.uuid, time, readings_)
        metrics.sampled = time

    def _local_srs(self) -> list[Ref]:
        row = self._db.find("host", self._gateway.host)
        if row is None:
            return []
        pbds = [self._db.row("PBD", ref) for ref in row.PBDs]
        return [Ref(pbd.SR) for pbd in pbds if pbd.currently_attached]

    def _add_traffic(self, owner: Owner, traffic: dict[str, Traffic]) -> None:
        """Add what a guest's disks carried to their SRs."""
        db = self._db
        vm = db.find("VM", db.tables["VM"].uuids.get(owner.uuid) or "")
        if vm is None:
            return
        for ref in vm.VBDs:
            vbd = db.row("VBD", ref)
            vdi = db.find("VDI", vbd.VDI)
            sr = None if vdi is None else db.find("SR", vdi.SR)
            if sr is not None and vbd.device:
                _add(traffic.setdefault(sr.uuid, Traffic()), owner.values, f"vbd_{vbd.device}")

    def _server(self) -> Any:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        open_files = len(os.listdir("/proc/self/fd"))
        return server_readings(used, open_files, self._db.count("session"), self._db.count("task"))

    async def _save(self) -> None:
        while self._metrics.save(exists_in(self._db), SAVED_AT_ONCE):
            await sleep(self._clock, 0.05)


def exists_in(db: Database) -> Callable[[OwnerKind, str], bool]:
    """Give the question whether an owner still exists."""
    tables = {"vm": "VM", "host": "host", "sr": "SR"}
    return lambda kind, uuid: uuid in db.tables[tables[kind]].uuids


def _add(flow: Traffic, values: Mapping[str, float], disk: str) -> None:
    def known(name: str) -> float:
        value = values.get(f"{disk}_{name}", 0.0)
        return value if value == value else 0.0

    flow.read_bytes += known("read")
    flow.write_bytes += known("write")
    flow.read_requests += known("iops_read")
    flow.write_requests += known("iops_write")
