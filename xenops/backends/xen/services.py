"""The parts of a Xen host, put together once at the start."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xapi_py.base.config import ConfigError
from xenops.backends.xen.build import Build
from xenops.backends.xen.create import Creation
from xenops.backends.xen.domains import Domains
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.memory import Memory
from xenops.backends.xen.parts import Parts
from xenops.backends.xen.stat import Stat
from xenops.backends.xen.worker import Workers
from xenops.bindings.errors import BindingError
from xenops.bindings.xen import Xen
from xenops.xenstore.client import XenStore
from xenops.xenstore.errors import StoreLost

MakeParts = Callable[[XenHost, Domains, Build, Workers], Parts]


@dataclass(frozen=True, slots=True)
class Services:
    """What the backend's effects are made of."""

    host: XenHost
    domains: Domains
    memory: Memory
    creation: Creation
    workers: Workers
    build: Build
    parts: Parts
    stat: Stat


def assemble(host: XenHost, make_parts: MakeParts) -> Services:
    """Put a host's services together."""
    domains = Domains(host)
    memory = Memory(host, domains)
    workers = Workers(host)
    build = Build(host, domains, workers)
    parts = make_parts(host, domains, build, workers)
    stat = Stat(host, domains, parts.vbds, parts.vifs, parts.pcis, parts.consoles)
    creation = Creation(host, domains, memory)
    return Services(host, domains, memory, creation, workers, build, parts, stat)


async def connect(reactor: Any, run_folder: Path, state: Path) -> XenHost:
    """Reach this machine's Xen.  Errors: ConfigError that says what is missing."""
    try:
        xen = Xen.open()
        store = await XenStore.connect(reactor)
    except (BindingError, StoreLost) as error:
        raise ConfigError(f"no Xen here: {error}") from error
    return XenHost(store, xen, reactor, run_folder, state)
