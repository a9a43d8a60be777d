"""The order in which a server comes up.

The database first, then what the daemons of this host say about it, then the
records of a fresh installation, then clients.  Background work, such as
plugging storage, starts once clients are served.  Source: brief POOL 1.2.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.base.names import Uuid, new_uuid
from xapi_py.base.private_file import replace
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.pool.gateway import Daemon
from xapi_py.pool.secret import POOL_SECRET, new_secret
from xapi_py.start.identity import HostFacts

log = logging.getLogger(__name__)

RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Kept:
    """What an installation makes up once and keeps."""

    host_uuid: Uuid
    control_domain_uuid: Uuid
    pool_secret: str


def kept_identity(state: Path, host_uuid: str) -> Kept:
    """Read the identity of this installation, or make it and write it.

    ``host_uuid`` is used at the first start only.  Files have mode 0600.
    """
    return Kept(
        host_uuid=Uuid(_kept(state / "host-uuid", host_uuid or new_uuid())),
        control_domain_uuid=Uuid(_kept(state / "control-domain-uuid", new_uuid())),
        pool_secret=_kept(state / POOL_SECRET, new_secret()),
    )


def _kept(path: Path, fresh: str) -> str:
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    replace(path, f"{fresh}\n".encode())
    return fresh


async def host_facts(xenops: Daemon, clock: Clock) -> HostFacts:
    """Ask the domain daemon what this host is, waiting until it answers."""
    while True:
        try:
            answer: Any = await xenops.read("HOST.stat", {}, dbg="start")
        except (RpcUnreachable, RpcInternalError, RpcTimeout) as problem:
            log.info("waiting for the domain daemon: %s", problem)
            pause: Deferred[None] = Deferred()
            clock.callLater(RETRY_S, pause.callback, None)
            await pause
            continue
        return HostFacts(**{name: answer[name] for name in HostFacts.__slots__})
