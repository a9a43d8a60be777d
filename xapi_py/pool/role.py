"""What this host is to its pool: master, member, or neither for the moment.

The master has the database and the API; a member sends clients to it and
serves its own daemons and data paths.  One small file says which, in the
real toolstack's form.  Source: brief POOL 1.1 and 4.
"""

from dataclasses import dataclass
from pathlib import Path

from xapi_py.base.errors import ApiError
from xapi_py.base.private_file import replace
from xapi_py.datamodel import errors as err

EMERGENCY_MESSAGES = frozenset(
    {
        "session.slave_local_login",
        "session.slave_local_login_with_password",
        "session.local_logout",
        "pool.emergency_reset_master",
        "pool.emergency_transition_to_master",
        "pool.is_slave",
        "host.propose_new_master",
        "host.commit_new_master",
        "host.abort_new_master",
        "host.local_assert_healthy",
        "host.signal_networking_change",
        "host.local_management_reconfigure",
        "host.ha_xapi_healthcheck",
        "host.emergency_ha_disable",
        "host.management_disable",
        "host.get_system_status_capabilities",
        "host.is_in_emergency_mode",
        "host.shutdown_agent",
    }
)
"""What every host answers itself, master or not.  Source: facts/wire.md, Sessions."""


@dataclass(frozen=True, slots=True)
class Master:
    """This host leads its pool; a lone host is a pool of one."""


@dataclass(frozen=True, slots=True)
class Member:
    """Another host leads, at ``master_address``."""

    master_address: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A change of master is under way: nobody leads."""


Role = Master | Member | Broken


class RoleFileError(Exception):
    """The role file holds none of the known forms."""


def parse(text: str) -> Role:
    """Read the role file.  Errors: RoleFileError.

    An address may hold colons and may stand in brackets.
    """
    word, colon, address = text.strip().partition(":")
    address = address.strip().removeprefix("[").removesuffix("]")
    match (word, colon, address):
        case ("master", "", ""):
            return Master()
        case ("broken", "", ""):
            return Broken()
        case ("slave", ":", address) if address:
            return Member(address)
    raise RoleFileError(f"not a role: {text!r}")


def render(role: Role) -> str:
    """Write the role file."""
    match role:
        case Master():
            return "master"
        case Broken():
            return "broken"
        case Member(address):
            return f"slave:{address}"


def read(path: Path) -> Role:
    """Read the role of this host; without a file it is a master.

    Errors: RoleFileError.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Master()


def write(path: Path, role: Role) -> None:
    """Replace the role file in one step that survives loss of power."""
    replace(path, render(role).encode())


def refusal(role: Role, message: str) -> ApiError | None:
    """Give the error a host of this role answers a message with, None where it answers it."""
    if isinstance(role, Master) or message in EMERGENCY_MESSAGES:
        return None
    if isinstance(role, Member):
        return err.HOST_IS_SLAVE(role.master_address)
    return err.HOST_BROKEN()
