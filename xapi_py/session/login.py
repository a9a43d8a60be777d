"""Login: from a name and a password to a session."""

import logging
from dataclasses import dataclass
from typing import NoReturn

from twisted.internet.defer import Deferred

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import Model
from xapi_py.db.database import Database
from xapi_py.session.directory import Directory, DirectoryUser, LocalAuthenticator, LoginRefused
from xapi_py.session.rbac import denial, permissions_of_roles
from xapi_py.session.sessions import Session, Sessions

log = logging.getLogger(__name__)

FAILURE_DELAY_S = 5.0
"""A wrong password is answered this late; nobody else waits.  Source: wire.md, Sessions."""


@dataclass(slots=True)
class Login:
    """Checks passwords and makes sessions."""

    db: Database
    model: Model
    sessions: Sessions
    clock: Clock
    local: LocalAuthenticator
    directory: Directory | None = None

    async def with_password(
        self, user: str, password: str, originator: str, *, trusted: bool = False
    ) -> Session:
        """Make a session for a user; ``trusted`` callers need no password.

        Errors: SESSION_AUTHENTICATION_FAILED after FAILURE_DELAY_S seconds;
        RBAC_PERMISSION_DENIED or SESSION_AUTHORIZATION_FAILED for a directory
        user that no subject with a role covers.
        """
        if trusted:
            return self.sessions.add(
                user or "root", originator=originator, superuser=True, unix=True
            )
        try:
            await self.local.check(user, password)
        except LoginRefused as refused:
            directory = self.enabled_directory()
            if directory is None:
                return await self._refuse(user, refused)
            return await self._directory_login(directory, user, password, originator)
        return self.sessions.add(user, originator=originator, superuser=True)

    def enabled_directory(self) -> Directory | None:
        """Give the directory if a host of the pool has joined it."""
        joined = any(row.external_auth_type != "" for row in self.db.rows("host"))
        return self.directory if joined else None

    async def check_superuser(self, user: str, password: str) -> None:
        """Return if the pair is the local superuser's.

        Errors: SESSION_AUTHENTICATION_FAILED after the delay.
        """
        try:
            await self.local.check(user, password)
        except LoginRefused as refused:
            await self._refuse(user, refused)

    async def _refuse(self, user: str, refused: LoginRefused) -> NoReturn:
        log.info("login of %r refused: %s", user, refused)
        delay: Deferred[None] = Deferred()
        self.clock.callLater(FAILURE_DELAY_S, delay.callback, None)
        await delay
        raise err.SESSION_AUTHENTICATION_FAILED(user, str(refused))

    async def _directory_login(
        self, directory: Directory, user: str, password: str, originator: str
    ) -> Session:
        try:
            known = await directory.authenticate(user, password)
        except LoginRefused as refused:
            await self._refuse(user, refused)
        subject, roles = self._subject_of(known)
        if subject is None:
            raise err.SESSION_AUTHORIZATION_FAILED(
                user, "The supplied credentials are valid, but no subject of the pool covers them"
            )
        if not roles:
            raise denial(self.model, "session.login_with_password")
        return self.sessions.add(
            user,
            originator=originator,
            subject=subject,
            subject_sid=known.sid,
            permissions=permissions_of_roles(self.model, roles),
        )

    async def revalidate(self) -> None:
        """Give running sessions of a directory's users the roles they have now.

        A session whose user is gone, or whose user no subject with a role
        covers any more, ends.  Source: brief POOL 7.2 and 9.2.
        """
        directory = self.enabled_directory()
        for session in self.sessions.all():
            if not session.subject_sid or session.superuser:
                continue
            user = None if directory is None else await directory.by_sid(session.subject_sid)
            subject, roles = (None, frozenset()) if user is None else self._subject_of(user)
            if not self.sessions.is_live(session):
                continue
            if subject is None or not roles:
                log.info("the session of %r ends: no role any more", session.user_name)
                self.sessions.remove(session)
            else:
                self.sessions.grant(session, permissions_of_roles(self.model, roles))

    def _subject_of(self, user: DirectoryUser) -> tuple[Ref | None, frozenset[str]]:
        """Find the subject for a user and the role names of all that cover it."""
        covering = {user.sid, *user.groups}
        found: Ref | None = None
        roles: set[str] = set()
        for row in self.db.rows("subject"):
            if row.subject_identifier in covering:
                if found is None or row.subject_identifier == user.sid:
                    found = row.ref
                roles.update(self.db.row("role", r).name_label for r in row.roles)
        return found, frozenset(roles)
