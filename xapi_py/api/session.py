"""Messages of class session."""

import hmac
from pathlib import Path

from twisted.internet.threads import deferToThread

from xapi_py.api import saved_database
from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.session.directory import LoginRefused


@message("session.login_with_password")
async def login_with_password(
    call: Call, uname: str, pwd: str, version: str = "", originator: str = ""
) -> Ref:
    """Log in; a caller on the unix socket is root whatever it says.

    Errors: SESSION_AUTHENTICATION_FAILED after five seconds,
    SESSION_AUTHORIZATION_FAILED, RBAC_PERMISSION_DENIED.
    """
    session = await call.toolstack.login.with_password(
        uname, pwd, originator, trusted=call.caller.unix
    )
    return session.ref


@message("session.logout")
def logout(call: Call) -> None:
    """End the session; its calls that wait for events fail."""
    call.toolstack.sessions.remove(call.session)


@message("session.local_logout")
def local_logout(call: Call) -> None:
    """End a session made by a local login; any other session stays."""
    if call.session.local:
        call.toolstack.sessions.remove(call.session)


@message("session.slave_login")
def slave_login(call: Call, host: Ref, psecret: str) -> Ref:
    """Log in as a member of the pool.  Errors: SESSION_AUTHENTICATION_FAILED."""
    _check_secret(call, host, psecret)
    return call.toolstack.sessions.add("", superuser=True, is_pool=True, originator="xapi").ref


@message("session.slave_local_login")
def slave_local_login(call: Call, psecret: str) -> Ref:
    """Log in to this host alone with the pool secret."""
    _check_secret(call, "localhost", psecret)
    return call.toolstack.sessions.add("", superuser=True, local=True, originator="xapi").ref


@message("session.slave_local_login_with_password")
async def slave_local_login_with_password(call: Call, uname: str, pwd: str) -> Ref:
    """Log in to this host alone, also when the master cannot be reached."""
    if not call.caller.unix:
        await call.toolstack.login.check_superuser(uname, pwd)
    return call.toolstack.sessions.add(uname, superuser=True, local=True).ref


@message("session.change_password")
async def change_password(call: Call, old_pwd: str, new_pwd: str) -> None:
    """Change the local superuser's password.

    Errors: USER_IS_NOT_LOCAL_SUPERUSER, CHANGE_PASSWORD_REJECTED.
    """
    session, login = call.session, call.toolstack.login
    if not session.superuser:
        raise err.USER_IS_NOT_LOCAL_SUPERUSER("This can only be called by the local superuser")
    try:
        if not session.unix:
            await login.local.check(session.user_name, old_pwd)
        if not new_pwd:
            raise LoginRefused("No password supplied")
        await login.local.change(session.user_name, new_pwd)
    except LoginRefused as refused:
        raise err.CHANGE_PASSWORD_REJECTED(str(refused)) from refused


@message("session.get_all_subject_identifiers")
def get_all_subject_identifiers(call: Call) -> tuple[str, ...]:
    """Give the identifiers of directory users that are logged in, each once."""
    found = (s.subject_sid for s in call.toolstack.sessions.all() if s.subject_sid)
    return tuple(dict.fromkeys(found))


@message("session.logout_subject_identifier")
def logout_subject_identifier(call: Call, subject_identifier: str) -> None:
    """End all sessions of a directory user but the caller's own."""
    sessions = call.toolstack.sessions
    for session in sessions.all():
        others = session is not call.session and not session.superuser
        if others and session.subject_sid == subject_identifier:
            sessions.remove(session)


@message("session.create_from_db_file")
async def create_from_db_file(call: Call, filename: str) -> Ref:
    """Open a database saved as XML on this host: the session reads that one.

    What changes something is not implemented in it, but for recovering VMs
    into the pool.  Errors: INTERNAL_ERROR for a file that cannot be read.
    """
    db = await deferToThread(saved_database.load, Path(filename))
    session = call.toolstack.sessions.add(call.session.user_name, superuser=True)
    session.db = db
    return session.ref


def _check_secret(call: Call, name: str, secret: str) -> None:
    expected = call.toolstack.settings.pool_secret
    if not expected or not hmac.compare_digest(secret.encode(), expected.encode()):
        raise err.SESSION_AUTHENTICATION_FAILED(name, "Pool credentials invalid")
