"""The table of sessions: who is logged in, since when, and what ends a session.

Sessions live as long as the process.  Each has a row of class ``session``, so
that clients can read it; the objects here carry what every call needs.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.reactor import Clock
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database

INACTIVE_LIFETIME_S = 86400.0
"""A session that made no call for a day ends.  Source: facts/wire.md, Sessions."""

SESSIONS_PER_NAME = 500
"""More sessions of one user or originator end the least recently used one."""

SESSIONS_OF_POOL = 400
LAST_ACTIVE_GRAIN_S = 30.0
"""``last_active`` in the row lags behind by at most this."""


@dataclass(slots=True, eq=False)
class Session:
    """One login.

    ``superuser`` sessions pass every permission check; for the others
    ``permissions`` holds what their roles grant.  ``local`` sessions live on
    this host only and are good for emergency calls.  ``db`` is a saved database
    that the session reads instead of the pool's.
    """

    ref: Ref
    user_name: str
    originator: str = ""
    superuser: bool = False
    is_pool: bool = False
    local: bool = False
    unix: bool = False
    subject: Ref = NULL_REF
    subject_sid: str = ""
    permissions: frozenset[str] = frozenset()
    last_active: float = 0.0
    written_active: float = 0.0
    blocked: dict[object, Callable[[ApiError], object]] = field(default_factory=dict)
    """What waits in calls of the session, with how to end it with an error."""
    db: Database | None = None


class Sessions:
    """Make, find and end sessions."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        this_host: Callable[[], Ref],
        max_per_name: int = SESSIONS_PER_NAME,
    ) -> None:
        self._db = db
        self._clock = clock
        self._this_host = this_host
        self._max_per_name = max_per_name
        self._by_ref: dict[str, Session] = {}
        self._by_name: defaultdict[tuple[str, str], dict[Ref, Session]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._by_ref)

    def all(self) -> list[Session]:
        """Give all sessions, oldest first."""
        return list(self._by_ref.values())

    def get(self, ref: str) -> Session:
        """Find a session and note that it is in use.

        Errors: SESSION_INVALID.
        """
        session = self._by_ref.get(ref)
        if session is None:
            raise err.SESSION_INVALID(ref)
        session.last_active = self._clock.seconds()
        if session.last_active - session.written_active > LAST_ACTIVE_GRAIN_S:
            self._write_active(session)
        return session

    def add(
        self,
        user_name: str,
        *,
        originator: str = "",
        superuser: bool = False,
        is_pool: bool = False,
        local: bool = False,
        unix: bool = False,
        subject: Ref = NULL_REF,
        subject_sid: str = "",
        permissions: frozenset[str] = frozenset(),
        parent: Ref = NULL_REF,
    ) -> Session:
        """Log in: make the session and its row; over the limit the one unused longest ends."""
        now = self._clock.seconds()
        with self._db.transaction() as tx:
            ref = tx.create(
                "session",
                {
                    "this_host": self._this_host(),
                    "last_active": int(now),
                    "pool": is_pool,
                    "is_local_superuser": superuser,
                    "subject": subject,
                    "validation_time": int(now),
                    "auth_user_sid": subject_sid,
                    "auth_user_name": user_name,
                    "rbac_permissions": tuple(sorted(permissions)),
                    "originator": originator,
                    "parent": parent,
                },
            )
        session = Session(
            ref=ref,
            user_name=user_name,
            originator=originator,
            superuser=superuser,
            is_pool=is_pool,
            local=local,
            unix=unix,
            subject=subject,
            subject_sid=subject_sid,
            permissions=permissions,
            last_active=now,
            written_active=now,
        )
        self._by_ref[ref] = session
        self._enforce_limit(session)
        return session

    def remove(self, session: Session) -> None:
        """Log out: calls of the session that wait for events end with SESSION_INVALID."""
        if self._by_ref.pop(session.ref, None) is None:
            return
        self._by_name[self._group(session)].pop(session.ref, None)
        with self._db.transaction() as tx:
            if self._db.find("session", session.ref) is not None:
                tx.delete("session", session.ref)
        for end in tuple(session.blocked.values()):
            end(err.SESSION_INVALID(session.ref))

    def grant(self, session: Session, permissions: frozenset[str]) -> None:
        """Change what a running session may do, and note that it was looked at."""
        session.permissions = permissions
        with self._db.transaction() as tx:
            tx.update(
                "session",
                session.ref,
                rbac_permissions=tuple(sorted(permissions)),
                validation_time=int(self._clock.seconds()),
            )

    def remove_inactive(self) -> None:
        """End the sessions that made no call for a day and wait for nothing."""
        limit = self._clock.seconds() - INACTIVE_LIFETIME_S
        for session in self.all():
            if session.last_active < limit and not session.blocked:
                self.remove(session)

    def is_live(self, session: Session) -> bool:
        """Tell whether the session has not ended since it was found."""
        return session.ref in self._by_ref

    def _group(self, session: Session) -> tuple[str, str]:
        if session.is_pool:
            return ("pool", "")
        if session.superuser:
            return ("originator", session.originator)
        return ("user", session.user_name)

    def _enforce_limit(self, session: Session) -> None:
        kind, _ = key = self._group(session)
        group = self._by_name[key]
        group[session.ref] = session
        limit = SESSIONS_OF_POOL if kind == "pool" else self._max_per_name
        if len(group) > limit:
            self.remove(min(group.values(), key=lambda s: s.last_active))

    def _write_active(self, session: Session) -> None:
        session.written_active = session.last_active
        with self._db.transaction() as tx:
            tx.set("session", session.ref, "last_active", int(session.last_active))
