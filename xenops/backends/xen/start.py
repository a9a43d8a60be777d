"""The backend of this machine, ready to be asked."""

from pathlib import Path
from typing import Any

from xapi_py.base.rpc.client import RpcClient
from xenops.backends.xen.backend import XenBackend
from xenops.backends.xen.build import Build
from xenops.backends.xen.control import Control
from xenops.backends.xen.domains import Domains
from xenops.backends.xen.hardware import Hardware
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.host_facts import HostFacts
from xenops.backends.xen.images import Images
from xenops.backends.xen.migrations import Migrations
from xenops.backends.xen.parts import Parts
from xenops.backends.xen.services import assemble, connect
from xenops.backends.xen.worker import Workers
from xenops.network import NetworkDaemon


def make_parts(host: XenHost, domains: Domains, build: Build, workers: Workers) -> Parts:
    """Give what domains of this host can have."""
    client = RpcClient(host.reactor, str(host.run_folder / "networkd.sock"))
    hardware = Hardware(host, domains, NetworkDaemon(host.reactor, client))
    images = Images(host, domains, build, workers, hardware.model)
    return Parts(
        hardware.vbds,
        hardware.vifs,
        hardware.pcis,
        hardware.consoles,
        hardware.model,
        images,
        Migrations(host, domains, build, workers, hardware.model),
    )


async def open_backend(reactor: Any, run_folder: Path, state: Path) -> XenBackend:
    """Find this machine's domains.  Errors: ConfigError when there is no Xen."""
    host = await connect(reactor, run_folder, state)
    services = assemble(host, make_parts)
    facts = HostFacts(host, services.domains, services.memory)
    backend = XenBackend(services, facts, Control(host, services.domains))
    await backend.open()
    return backend
