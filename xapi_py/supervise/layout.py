"""Which processes make a host, with which arguments and files: pure."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xapi_py.supervise.options import Options, UsageError

SOCKET_PATH_MAX: Final = 107
"""Longest path of a unix socket on Linux, in bytes."""

DAEMONS: Final = (("xenopsd", "xenops"), ("smd", "sm"), ("networkd", "xcp_networkd"))

PYTHON: Final = (sys.executable, "-P", "-m")
"""-P: a folder called ``sm`` in the user's current directory must not be imported."""

Answer = Mapping[str, object]
Command = Callable[[Answer], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class DaemonSpec:
    """A process to keep running.

    ``command`` is given what the process announced when it was last ready
    (empty at first) so that it gets the same ports again; the supervisor adds
    ``--ready-fd``.  A host's processes of one ``stage`` start together, after
    those of the stage before, and stop in the opposite order.
    """

    host: int
    name: str
    stage: int
    command: Command
    log: Path

    @property
    def label(self) -> str:
        """Name for people: ``host-1/xapi``."""
        return f"host-{self.host}/{self.name}"


Pool = Callable[[Options], tuple[DaemonSpec, ...]]
"""Gives every process of every host."""


def host_folder(options: Options, host: int) -> Path:
    """Give the folder that holds all of a host: run/, log/ and one a daemon."""
    return options.state / f"host-{host}"


def password_file(options: Options) -> Path:
    """Give the file with the password of root."""
    return options.state / "password"


def effective_simulator(options: Options) -> Path:
    """Give the file every daemon reads: --simulator and --bare put together."""
    return options.state / "simulator.yaml"


def pool(options: Options) -> tuple[DaemonSpec, ...]:
    """List the processes of all hosts.

    Errors: UsageError when the state folder's path is too long for a socket.
    """
    hosts = range(1, options.hosts + 1)
    return tuple(spec for host in hosts for spec in _host(options, host))


def _host(options: Options, host: int) -> tuple[DaemonSpec, ...]:
    folder = host_folder(options, host)
    described = () if options.backend == "xen" else ("--config", str(effective_simulator(options)))
    shared = ("--backend", options.backend, "--host", str(host), *described)

    def daemon(name: str, package: str) -> DaemonSpec:
        socket = folder / "run" / f"{name}.sock"
        if len(bytes(socket)) > SOCKET_PATH_MAX:
            raise UsageError(f"{options.state}: the path is too long for unix sockets below it")
        command = (*PYTHON, package, "--socket", str(socket), "--state", str(folder / name))
        return DaemonSpec(
            host, name, 0, lambda _: (*command, *shared), folder / "log" / f"{name}.log"
        )

    def xapi(answer: Answer) -> tuple[str, ...]:
        http, https = answer.get("http", options.http), answer.get("https", options.https)
        return (
            *(*PYTHON, "xapi_py.main", "--state", str(folder)),
            *("--http", str(http), "--https", str(https)),
            *("--address", options.address_of(host)),
            *("--password-file", str(password_file(options)), "--profile", options.profile),
            *shared,
            *(("--bare",) if options.bare else ()),
        )

    daemons = tuple(daemon(name, package) for name, package in DAEMONS)
    return (*daemons, DaemonSpec(host, "xapi", 1, xapi, folder / "log" / "xapi.log"))
