"""The API server's process: puts its parts together and serves clients."""

import argparse
import logging
import socket
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from xapi_py.api import registry
from xapi_py.api.dispatch import Dispatcher
from xapi_py.api.toolstack import Settings, Toolstack
from xapi_py.base import garbage, lazy, simulator_config
from xapi_py.base import log as log_setup
from xapi_py.base.config import ConfigError
from xapi_py.base.names import Ref, new_uuid
from xapi_py.base.rpc.client import RpcClient
from xapi_py.base.service import announce_ready
from xapi_py.base.simulator_config import HostConfig, SimulatorConfig
from xapi_py.cli.endpoint import add_cli_route
from xapi_py.datamodel.model import Model
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.sqlite import SqliteEngine
from xapi_py.event.events import Events
from xapi_py.http.serve import Endpoints, serve
from xapi_py.metrics.sampling import exists_in
from xapi_py.metrics.store import Metrics
from xapi_py.pool import role
from xapi_py.pool.gateway import Daemon, HostGateway, Hosts
from xapi_py.pool.programs import ReactorPrograms
from xapi_py.session.accounts import authenticator, directory
from xapi_py.session.audit import AuditLog
from xapi_py.session.login import Login
from xapi_py.session.sessions import Sessions
from xapi_py.start import background, first_boot, local_records
from xapi_py.start.identity import forbidden_features
from xapi_py.start.local_records import HostIdentity
from xapi_py.start.start import host_facts, kept_identity
from xapi_py.task.tasks import Tasks
from xapi_py.transfer import restore

log = logging.getLogger(__name__)

PATIENCE_S: Final = 10.0
"""How long calls wait for a daemon that is being started again."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line; see ``parse``."""

    state: Path
    http: int
    https: int
    address: str
    password_file: Path
    profile: str
    backend: str
    config: Path | None
    bare: bool
    host: int
    ready_fd: int | None
    log_level: str


def parse(argv: list[str]) -> Options:
    """Read the command line of the server."""
    parser = argparse.ArgumentParser(prog="xapi", description="The XenAPI server of one host.")
    parser.add_argument("--state", type=Path, required=True, help="folder of this host's files")
    parser.add_argument("--http", type=int, default=80)
    parser.add_argument("--https", type=int, default=443)
    parser.add_argument("--address", default="127.0.0.1", help="address clients reach this host at")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--profile", choices=("7.1", "newest"), default="7.1")
    parser.add_argument("--backend", default="simulator")
    parser.add_argument("--config", type=Path, help="YAML that describes simulated hosts")
    parser.add_argument("--bare", action="store_true", help="no storage, no NICs, no guest agent")
    parser.add_argument("--host", type=int, default=1, help="number of the simulated host")
    parser.add_argument("--ready-fd", type=int, help="descriptor told when clients are served")
    parser.add_argument("--log-level", default="INFO")
    options = vars(parser.parse_args(argv))
    return Options(**options)


def with_chosen_port(options: Options) -> Options:
    """Choose the TLS port where any will do: records name it before it is listened on."""
    if options.https:
        return options
    with socket.socket(socket.AF_INET6 if ":" in options.address else socket.AF_INET) as probe:
        probe.bind((options.address, 0))
        return replace(options, https=probe.getsockname()[1])


def described_hosts(options: Options) -> SimulatorConfig:
    """Read what simulated hosts are; a real one has its machine's name, and a uuid of its own.

    Errors: ConfigError.
    """
    if options.backend != "xen":
        return simulator_config.load(options.config)
    return SimulatorConfig(hosts=(HostConfig(name=socket.gethostname(), uuid=new_uuid()),))


async def start(options: Options, reactor: Any) -> Toolstack:
    """Bring the server up in order and give it once it serves clients."""
    config = described_hosts(options)
    described = config.host(options.host)
    kept = kept_identity(options.state, described.uuid)
    model = load_model(options.profile)  # type: ignore[arg-type]
    registry.load_all()
    await restore.apply_upload(options.state, reactor)
    db = Database(load_model("all"), SqliteEngine(options.state / "state.sqlite", reactor), reactor)

    xenops, sm, networkd = (
        Daemon(RpcClient(reactor, str(options.state / "run" / f"{name}.sock"), PATIENCE_S))
        for name in ("xenopsd", "smd", "networkd")
    )
    me = HostIdentity(
        uuid=kept.host_uuid,
        control_domain_uuid=kept.control_domain_uuid,
        hostname=described.name,
        address=options.address,
        https_port=options.https,
        has_local_storage=not options.bare,
        forbidden_features=forbidden_features(described.xapi, options.profile),
    )
    facts = await host_facts(xenops, reactor)
    localhost = local_records.refresh(db, model, me, facts, int(reactor.seconds()))
    pool = first_boot.ensure(db, model, localhost)
    await db.durable()

    settings = Settings(
        address=options.address,
        state=options.state,
        profile=options.profile,
        backend=options.backend,
        bare=options.bare,
        https_port=options.https,
        pool_secret=kept.pool_secret,
        simulator=config,
        host_number=options.host,
    )
    toolstack = assemble(options, settings, model, db, localhost, pool, reactor)
    toolstack.hosts.add(HostGateway(localhost, xenops, sm, networkd))
    await background.before_clients(toolstack)
    garbage.settle()
    dispatcher = Dispatcher(toolstack)
    endpoints = serve(
        toolstack, dispatcher, options.http, options.https, reactor, more=(add_cli_route,)
    )
    _announce(options, endpoints)
    reactor.callInThread(lazy.load_all)
    background.after_clients(toolstack)
    return toolstack


def assemble(
    options: Options,
    settings: Settings,
    model: Model,
    db: Database,
    localhost: Ref,
    pool: Ref,
    reactor: Any,
) -> Toolstack:
    """Put the parts together that live as long as the process."""
    described = settings.simulator.host(options.host)
    sessions = Sessions(db, reactor, lambda: localhost)
    local = authenticator(options.backend, options.password_file, reactor)
    return Toolstack(
        settings=settings,
        model=model,
        db=db,
        clock=reactor,
        sessions=sessions,
        login=Login(db, model, sessions, reactor, local, directory(described.xapi)),
        tasks=Tasks(db, reactor, lambda: localhost),
        events=Events(db, model, reactor, sessions.is_live),
        hosts=Hosts(),
        audit=AuditLog(settings.state / "log", described.name),
        localhost=localhost,
        pool=pool,
        role=role.read(settings.state / "pool.conf"),
        programs=ReactorPrograms(reactor),
        restart=reactor.stop,
        metrics=Metrics(settings.state / "metrics"),
    )


def _announce(options: Options, endpoints: Endpoints) -> None:
    log.info("serving %s", endpoints)
    if options.ready_fd is not None:
        announce_ready(
            options.ready_fd,
            {
                "address": endpoints.address,
                "http": endpoints.http,
                "https": endpoints.https,
                "socket": str(endpoints.socket),
            },
        )


def main(argv: list[str] | None = None) -> None:
    """Run until told to end; exit status 1 with a message when it cannot start."""
    options = with_chosen_port(parse(sys.argv[1:] if argv is None else argv))
    garbage.postpone()
    options.state.mkdir(parents=True, exist_ok=True)
    log_setup.configure(options.log_level)
    reactor: Any = installed_reactor
    status = 0

    def refused(failure: Failure) -> None:
        nonlocal status
        status = 1
        if failure.check(ConfigError, CannotListenError):
            print(f"xapi: {failure.value}", file=sys.stderr)
        else:
            log.error("the server cannot start\n%s", failure.getTraceback())
        reactor.stop()

    def serving(toolstack: Toolstack) -> None:
        reactor.addSystemEventTrigger("before", "shutdown", _stop, toolstack)

    def begin() -> None:
        starting: Coroutine[Any, Any, Toolstack] = start(options, reactor)
        Deferred.fromCoroutine(starting).addCallback(serving).addErrback(refused)

    reactor.callWhenRunning(begin)
    reactor.run()
    sys.exit(status)


def _stop(toolstack: Toolstack) -> "Deferred[None]":
    toolstack.audit.close()
    toolstack.metrics.save(exists_in(toolstack.db))
    return toolstack.db.close()


if __name__ == "__main__":
    main()
