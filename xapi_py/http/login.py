"""Find the credentials a request carries; others decide what they are worth.

Source: facts/wire.md "HTTP handlers": a session, else the pool secret, else
HTTP basic authentication; the unix socket needs none.
"""

import base64
import binascii
from dataclasses import dataclass, field

from xapi_py.http.messages import HttpError, Request


@dataclass(frozen=True, slots=True)
class SessionLogin:
    """A session reference, from the query or a cookie."""

    session: str


@dataclass(frozen=True, slots=True)
class PoolSecretLogin:
    """The pool secret, or what claims to be it; compare in constant time."""

    untrusted_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """User and password of HTTP basic authentication."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LocalLogin:
    """No credentials, but a process of user ``uid`` on the unix socket."""

    uid: int


Login = SessionLogin | PoolSecretLogin | PasswordLogin | LocalLogin


def login_of(request: Request) -> Login | None:
    """Give the credentials of a request, None without any.

    Errors: HttpError 500 for an Authorization header that is not readable.
    Source: traces "http".
    """
    session = request.argument("session_id")
    if session is not None:
        return SessionLogin(session)
    secret = request.argument("pool_secret")
    if secret is not None:
        return PoolSecretLogin(secret)
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return _basic(authorization)
    if request.peer.kind == "unix" and request.peer.uid is not None:
        return LocalLogin(request.peer.uid)
    return None


def unauthorised(realm: str) -> HttpError:
    """Give the refusal of missing or bad credentials; raise it."""
    return HttpError(401, headers=(("WWW-Authenticate", f'Basic realm="{realm}"'),))


def _basic(authorization: str) -> PasswordLogin:
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        raise HttpError(500, "only basic authentication is understood")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise HttpError(500, "unreadable Authorization header") from error
    user, colon, password = text.partition(":")
    if not colon:
        raise HttpError(500, "unreadable Authorization header")
    return PasswordLogin(user, password)
