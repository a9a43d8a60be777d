"""Who may log in: the local superuser and users of an external directory.

PAM and the development password check the local superuser; an external
directory (Active Directory on a real pool, a table in simulations) knows the
other users.  Both are behind protocols, so that a login has one path.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from xapi_py.base.private_file import replace

UNKNOWN_USER = "User not known to the underlying authentication module"
LOCAL_SUPERUSER = "root"


class LoginRefused(Exception):
    """The name or the password is wrong; the text is for the client."""


class LocalAuthenticator(Protocol):
    """Checks the local superuser."""

    async def check(self, user: str, password: str) -> None:
        """Return if the pair is right.  Errors: LoginRefused."""
        ...

    async def change(self, user: str, new_password: str) -> None:
        """Set a new password.  Errors: LoginRefused with the reason."""
        ...


class PasswordAuthenticator:
    """One user whose password is in a file of mode 0600: for development."""

    def __init__(self, user: str, password_file: Path) -> None:
        self._user = user
        self._file = password_file
        self._password = password_file.read_text(encoding="utf-8").rstrip("\n")

    async def check(self, user: str, password: str) -> None:
        if user != self._user:
            raise LoginRefused(UNKNOWN_USER)
        if not hmac.compare_digest(_bytes(password), _bytes(self._password)):
            raise LoginRefused("Authentication failure")

    async def change(self, user: str, new_password: str) -> None:
        if user != self._user:
            raise LoginRefused(UNKNOWN_USER)
        replace(self._file, f"{new_password}\n".encode())
        self._password = new_password


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


class PamAuthenticator:
    """The PAM service of a real host; every check runs in its own thread pool.

    Only root may log in so: whoever passes is the pool's superuser, and PAM
    may know users of a directory as well.

    ``python-pam`` is imported here only: a machine without PAM can still run
    simulated hosts.
    """

    def __init__(self, reactor: Any, pool: ThreadPool, service: str = "xapi") -> None:
        self._reactor = reactor
        self._pool = pool
        self._service = service

    async def check(self, user: str, password: str) -> None:
        if user != LOCAL_SUPERUSER:
            raise LoginRefused(UNKNOWN_USER)
        done: Deferred[None] = deferToThreadPool(
            self._reactor, self._pool, self._check, user, password
        )
        await done

    async def change(self, user: str, new_password: str) -> None:
        raise LoginRefused("Change the password with the host's own passwd command")

    def _check(self, user: str, password: str) -> None:
        import pam  # noqa: PLC0415 - optional C library

        session = pam.PamAuthenticator()
        if not session.authenticate(user, password, service=self._service):
            raise LoginRefused(str(session.reason or "Authentication failure"))


@dataclass(frozen=True, slots=True)
class DirectoryUser:
    """A user or group of an external directory.

    ``groups`` are the identifiers of the groups it belongs to, nested ones
    included; ``password`` is None for groups.
    """

    name: str
    sid: str
    password: str | None = None
    groups: tuple[str, ...] = ()
    information: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectoryTable:
    """The ``directory`` section of a simulated host."""

    users: tuple[DirectoryUser, ...] = ()


class Directory(Protocol):
    """An external directory."""

    async def authenticate(self, user: str, password: str) -> DirectoryUser:
        """Give the user.  Errors: LoginRefused."""
        ...

    async def by_name(self, name: str) -> DirectoryUser | None:
        """Find a user or group by its name."""
        ...

    async def by_sid(self, sid: str) -> DirectoryUser | None:
        """Find a user or group by its identifier."""
        ...


class TableDirectory:
    """A directory that is a table: for simulations and tests."""

    def __init__(self, users: tuple[DirectoryUser, ...]) -> None:
        self._by_name = {u.name.lower(): u for u in users}
        self._by_sid = {u.sid: u for u in users}

    async def authenticate(self, user: str, password: str) -> DirectoryUser:
        found = self._by_name.get(user.lower())
        if found is None or found.password is None:
            raise LoginRefused(UNKNOWN_USER)
        if found.password != password:
            raise LoginRefused("Authentication failure")
        return found

    async def by_name(self, name: str) -> DirectoryUser | None:
        return self._by_name.get(name.lower())

    async def by_sid(self, sid: str) -> DirectoryUser | None:
        return self._by_sid.get(sid)
