"""Where the Linux backends find and keep things, and how they run blocking work."""

import os
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from xcp_networkd import errors

T = TypeVar("T")

COMMAND_TIMEOUT_S = 30.0


class Run(Protocol):
    """Run blocking work, one at a time, and give its result."""

    def __call__(self, work: Callable[..., T], /, *arguments: Any) -> Awaitable[T]: ...


async def at_once(work: Callable[..., T], /, *arguments: Any) -> T:
    """A ``Run`` that blocks the caller; for tests and tools without reactor."""
    return work(*arguments)


@dataclass(frozen=True, slots=True)
class LinuxHost:
    """Folders and files of one host.

    ``state`` survives restarts of the daemon; ``resolv_conf`` is the file with
    the name servers; ``ovsdb`` the switch's database socket, ``ovs_run`` the folder
    of its control sockets; ``datapath`` ``system`` or, in user space, ``netdev``;
    ``sys`` where the kernel tells about cards.
    """

    state: Path
    resolv_conf: Path = Path("/etc/resolv.conf")
    ovsdb: Path = Path("/var/run/openvswitch/db.sock")
    ovs_run: Path = Path("/var/run/openvswitch")
    datapath: str = "system"
    proc_sys: Path = Path("/proc/sys")
    sys: Path = Path("/sys")


def boot_id() -> str:
    """Tell one start of the machine from the next."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def command(
    arguments: Sequence[str], *, stdin: str = "", environment: dict[str, str] | None = None
) -> str:
    """Run a program and give its output; Script_error with what it said when it fails."""
    try:
        done = subprocess.run(
            list(arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            env=None if environment is None else {**os.environ, **environment},
            check=False,
        )
    except FileNotFoundError as problem:
        raise errors.script_error(f"{arguments[0]} is not installed") from problem
    except subprocess.TimeoutExpired as problem:
        raise errors.script_error(f"{arguments[0]} did not end in time") from problem
    if done.returncode:
        text = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise errors.script_error(f"{arguments[0]}: {text}")
    return done.stdout
