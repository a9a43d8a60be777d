"""Calls of another pool's API, for commands that move something there."""

import http.client
import ssl
import xmlrpc.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.threads import deferToThread

from xapi_py.base.errors import ApiError
from xapi_py.cli.problems import CommandFailed

TIMEOUT_S = 30.0


class _Tls(xmlrpc.client.SafeTransport):
    """Connections to servers whose certificates are their own."""

    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, context=context, timeout=TIMEOUT_S)


class RemotePool:
    """A session of another pool; each call runs in a thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._session: tuple[str, ...] = ()

    async def login(self, user: str, password: str) -> None:
        """Errors: ApiError as the pool gives it, CommandFailed when nobody answers."""
        method = "session.login_with_password"
        self._session = (str(await self.call(method, user, password, "2.6", "cli")),)

    async def call(self, method: str, *arguments: object) -> Any:
        """Call a message with this session.  Errors: as ``login``."""
        return await deferToThread(self._call, method, arguments)

    def _call(self, method: str, arguments: tuple[object, ...]) -> Any:
        server = xmlrpc.client.ServerProxy(f"https://{self._address}", _Tls(), allow_none=True)
        try:
            answer: Any = getattr(server, method)(*self._session, *arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            text = getattr(error, "strerror", None) or str(error)
            raise CommandFailed(f"Cannot reach the pool at {self._address}: {text}") from error
        finally:
            server("close")()
        if answer.get("Status") != "Success":
            raise ApiError(*answer.get("ErrorDescription", ["INTERNAL_ERROR", "no answer"]))
        return answer.get("Value", "")


@asynccontextmanager
async def connect(address: str, user: str, password: str) -> AsyncIterator[RemotePool]:
    """Log in to a pool (HOST or HOST:PORT, over TLS) and out again at the end."""
    remote = RemotePool(address)
    await remote.login(user, password)
    try:
        yield remote
    finally:
        await remote.call("session.logout")
