"""What a server does besides answering calls: following daemons, storage, housekeeping."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from xapi_py.api import derived, recovery
from xapi_py.api.host import server_certificate
from xapi_py.api.internal_networks import InternalNetworks
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.waiting import at_most
from xapi_py.metrics.sampling import Sampler
from xapi_py.pool.local_state import AUTO_ENABLE, DISABLED_UNTIL_REBOOT, LocalState
from xapi_py.pool.metadata_push import MetadataPush
from xapi_py.start import housekeeping, network, storage
from xapi_py.start.housekeeping import Housekeeping
from xapi_py.transfer.nbd_service import NbdService

log = logging.getLogger(__name__)

STORAGE_WAIT_S = 10.0
"""How long clients wait for SRs that are slow to be plugged at the start."""


async def before_clients(toolstack: Toolstack) -> None:
    """Do what must be true before the first client is answered.

    Slow storage is waited for only for a while.
    """
    derived.declare(toolstack.db, toolstack.model)
    recovery.clear_marks(toolstack)
    for gateway in toolstack.hosts.live():
        await recovery.follow_domains(toolstack, gateway).synced()
    if toolstack.settings.bare:
        # nothing to make, but what their calls change must reach the database
        daemon = toolstack.hosts.get(toolstack.localhost).networkd
        await network.follow(toolstack, toolstack.localhost, daemon).synced()
        await storage.follow(toolstack)
    else:
        await network.prepare(toolstack)
        await storage.prepare(toolstack)
        await at_most(toolstack.clock, STORAGE_WAIT_S, run("storage", storage.bring_up(toolstack)))


def after_clients(toolstack: Toolstack) -> None:
    """Start what goes on for the life of the process."""
    server_certificate.record(toolstack)
    NbdService(toolstack, toolstack.clock)
    _every(toolstack, housekeeping.PERIOD_S, Housekeeping(toolstack).tidy)
    _every(toolstack, housekeeping.REVALIDATION_S, toolstack.login.revalidate)
    InternalNetworks(toolstack, toolstack.localhost).start()
    _enable_host(toolstack)
    MetadataPush(toolstack.db, toolstack.hosts)
    run("recovery", recovery.recover(toolstack))
    if not toolstack.settings.bare:
        _sample(toolstack)


def _sample(toolstack: Toolstack) -> None:
    here = toolstack.hosts.get(toolstack.localhost)
    sampler = Sampler(toolstack.db, here, toolstack.metrics, toolstack.clock, toolstack.slices)
    run("metrics", sampler.run())


def _enable_host(toolstack: Toolstack) -> None:
    """Let guests start here, unless an administrator wants the host kept disabled."""
    local = LocalState(toolstack.settings.state)
    local.put({DISABLED_UNTIL_REBOOT: "false"})
    if local.get(AUTO_ENABLE, "true") == "true":
        with toolstack.db.transaction() as tx:
            tx.set("host", toolstack.localhost, "enabled", True)


def _every(toolstack: Toolstack, period_s: float, work: Callable[[], Any]) -> None:
    loop = LoopingCall(work)
    loop.clock = toolstack.clock  # type: ignore[assignment]
    loop.start(period_s, now=False).addErrback(_lost, "housekeeping")


def run(name: str, work: Coroutine[Any, Any, None]) -> "Deferred[None]":
    """Start background work whose failure is logged under ``name``."""
    return Deferred.fromCoroutine(work).addErrback(_lost, name)


def _lost(failure: Failure, name: str) -> None:
    if not failure.check(CancelledError):
        log.error("%s ended\n%s", name, failure.getTraceback())
