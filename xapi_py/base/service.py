"""How every daemon starts: arguments, log, socket, signals, the end.

A daemon's ``__main__`` calls ``main(name, setup)``.  ``setup`` gets the parsed
arguments and the reactor and gives the methods to serve; what it raises ends
the process with a clear message.
"""

import argparse
import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from xapi_py.base import log as log_setup
from xapi_py.base.config import ConfigError
from xapi_py.base.rpc.server import Method, RpcServer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments every daemon takes.

    ``state`` is an existing folder of the daemon's own; ``config`` a YAML file
    or None; ``backend`` a name the daemon knows; ``host`` the number of the
    simulated host, from 1.
    """

    socket: Path
    state: Path
    config: Path | None
    backend: str
    host: int


@dataclass(slots=True)
class Service:
    """What a daemon serves, and what it does when told to end."""

    methods: Mapping[str, Method]
    stop: Callable[[], Coroutine[Any, Any, None] | None] = field(default=lambda: None)


Setup = Callable[[Arguments, Any], Coroutine[Any, Any, Service]]


def parse(name: str, argv: list[str]) -> tuple[Arguments, argparse.Namespace]:
    """Read the command line of the daemon ``name``."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--socket", type=Path, required=True, help="unix socket to listen on")
    parser.add_argument("--state", type=Path, required=True, help="folder for the daemon's files")
    parser.add_argument("--config", type=Path, help="YAML configuration")
    parser.add_argument("--backend", default="simulator")
    parser.add_argument("--host", type=int, default=1, help="number of the simulated host")
    parser.add_argument("--ready-fd", type=int, help="gets one JSON line when the socket answers")
    parser.add_argument("--log-level", default=os.environ.get("XAPI_LOG_LEVEL", "INFO"))
    parser.add_argument("--log-file", help="standard error when absent")
    options = parser.parse_args(argv)
    options.state.mkdir(parents=True, exist_ok=True)
    options.socket.parent.mkdir(parents=True, exist_ok=True)
    arguments = Arguments(
        options.socket, options.state, options.config, options.backend, options.host
    )
    return arguments, options


def main(name: str, setup: Setup, argv: list[str] | None = None) -> None:
    """Run a daemon until it is told to end; gives its exit status to the shell.

    The socket is made with mode 0600 once ``setup`` has finished, so a peer
    that can connect talks to a daemon that is ready.
    """
    arguments, options = parse(name, sys.argv[1:] if argv is None else argv)
    log_setup.configure(options.log_level, options.log_file)
    reactor: Any = installed_reactor
    status = 0

    def started(service: Service) -> None:
        _remove_stale_socket(arguments.socket)
        server = RpcServer(service.methods, reactor)
        reactor.listenUNIX(str(arguments.socket), server, mode=0o600)
        reactor.addSystemEventTrigger("before", "shutdown", _stop, service)
        log.info("%s listens on %s", name, arguments.socket)
        if options.ready_fd is not None:
            announce_ready(options.ready_fd, {"socket": str(arguments.socket)})

    def refused(failure: Failure) -> None:
        nonlocal status
        status = 1
        if failure.check(ConfigError, CannotListenError):
            print(f"{name}: {failure.value}", file=sys.stderr)
        else:
            log.error("%s cannot start\n%s", name, failure.getTraceback())
        reactor.stop()

    def begin() -> None:
        starting = Deferred.fromCoroutine(setup(arguments, reactor))
        starting.addCallback(started)
        starting.addErrback(refused)

    reactor.callWhenRunning(begin)
    reactor.run()
    sys.exit(status)


def announce_ready(descriptor: int, answer: Mapping[str, object]) -> None:
    """Tell the supervisor that this process answers, as one JSON line; closes the descriptor."""
    with os.fdopen(descriptor, "w", encoding="utf-8") as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(json.dumps(answer) + "\n")
        pipe.flush()


def _stop(service: Service) -> "Deferred[None] | None":
    outcome = service.stop()
    if outcome is None:
        return None
    return Deferred.fromCoroutine(outcome)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that a killed process left; one that answers stays."""
    if not path.exists():
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(str(path))
    except OSError:
        path.unlink()
    finally:
        probe.close()
