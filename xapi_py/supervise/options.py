"""The command line of scripts/run: a stable interface."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

PROFILES: Final = ("7.1", "newest")
BACKENDS: Final = ("auto", "xen", "simulator")
MAX_HOSTS: Final = 250


class UsageError(Exception):
    """The supervisor cannot do what it was asked to; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to run.  Paths are absolute; ``backend`` is decided, never ``auto``."""

    hosts: int
    backend: str
    state: Path
    address: str
    http: int
    https: int
    simulator: Path | None
    bare: bool
    password: str | None
    profile: str
    ready_file: Path | None
    detach: bool
    stop: bool

    def address_of(self, host: int) -> str:
        """Give the address host ``host`` (from 1) listens on."""
        return self.address if host == 1 else f"127.0.0.{host}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (--help lists the options)")


def parse(argv: list[str], environment: dict[str, str] | None = None) -> Options:
    """Read the command line.

    Errors: UsageError for anything that does not fit.
    """
    found = _parser().parse_args(argv)
    root = os.geteuid() == 0
    options = Options(
        hosts=found.hosts,
        backend=_backend() if found.backend == "auto" else found.backend,
        state=(found.state or _default_state(environment)).absolute(),
        address=found.address,
        http=(80 if root else 8080) if found.http is None else found.http,
        https=(443 if root else 8443) if found.https is None else found.https,
        simulator=found.simulator and found.simulator.absolute(),
        bare=found.bare,
        password=found.password,
        profile=found.profile,
        ready_file=found.ready_file and found.ready_file.absolute(),
        detach=found.detach,
        stop=found.stop,
    )
    if not options.stop:
        _check(options, found.standalone)
    return options


def _check(options: Options, standalone: bool) -> None:
    if not 1 <= options.hosts <= MAX_HOSTS:
        raise UsageError(f"--hosts takes 1 to {MAX_HOSTS}")
    if options.hosts > 1 and not standalone:
        raise UsageError(
            "pools of several hosts come later: use --standalone to run "
            f"{options.hosts} pools of one host each"
        )
    if options.hosts > 1 and options.address != "127.0.0.1":
        raise UsageError("--address is for one host; several listen on 127.0.0.1, 127.0.0.2, ...")
    if options.backend == "xen" and (options.bare or options.simulator or options.hosts > 1):
        raise UsageError("--bare, --simulator and --hosts describe simulated hosts, not Xen")
    for port in (options.http, options.https):
        if not 0 <= port <= 65535:
            raise UsageError(f"{port} is not a port number")
    if options.http == options.https != 0:
        raise UsageError("--http and --https need ports of their own")
    if options.password is not None and (
        not options.password or not options.password.isprintable()
    ):
        raise UsageError("--password takes printable text")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="scripts/run",
        description="Start a XenAPI server with its daemons; Ctrl-C stops everything.",
    )
    parser.add_argument("--hosts", type=int, default=1, metavar="N", help="hosts (default 1)")
    parser.add_argument("--standalone", action="store_true", help="each host its own pool of one")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--state", type=Path, metavar="DIR", help="what survives restarts")
    parser.add_argument(
        "--address", default="127.0.0.1", help="address of this machine to listen at"
    )
    parser.add_argument("--http", type=int, metavar="PORT", help="80 as root, else 8080; 0: any")
    parser.add_argument("--https", type=int, metavar="PORT", help="443 as root, else 8443; 0: any")
    parser.add_argument("--simulator", type=Path, metavar="FILE", help="see doc/simulator.md")
    parser.add_argument(
        "--bare", action="store_true", help="no storage, no NIC records, no guest agent"
    )
    parser.add_argument("--password", metavar="PW", help="of root; made up and kept when absent")
    parser.add_argument("--profile", choices=PROFILES, default="7.1")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="JSON, when all answer")
    parser.add_argument("--detach", action="store_true", help="return once ready, keep running")
    parser.add_argument("--stop", action="store_true", help="stop what runs on the state folder")
    return parser


def _default_state(environment: dict[str, str] | None) -> Path:
    known = dict(os.environ) if environment is None else environment
    base = known.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "xapi-py"


def _backend() -> str:
    """Decide for Xen in a control domain, else for the simulator."""
    try:
        capabilities = Path("/proc/xen/capabilities").read_text(encoding="ascii")
    except OSError:
        return "simulator"
    return "xen" if "control_d" in capabilities else "simulator"
