"""Connections to the server: unix socket, TLS or plain TCP.

``socket`` and ``ssl`` are imported only when a connection needs them: they cost
more start-up time than the rest of the client.
"""

import _socket
import os

from xe.failures import ClientError
from xe.settings import Settings

SYSTEM_SOCKET = "/var/lib/xcp/xapi"
RUN_SOCKET = "xapi-py/host-1/run/xapi"
CONNECT_S = 30.0

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Socket = Any


class Dialler:
    """Opens connections the way the settings say, always to the same server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._unix = ""

    def cli(self) -> "Socket":
        """Connect for the command.  Errors: ClientError."""
        settings = self._settings
        if settings.is_local:
            for path in self._sockets():
                found = _unix(path)
                if found is not None:
                    self._unix = path
                    return found
        return self._tcp(settings.server)

    def transfer(self, host: str) -> "Socket":
        """Connect for a transfer, to ``host`` or where the command went.

        Errors: ClientError.
        """
        if self._unix and host in ("", "127.0.0.1", "localhost"):
            found = _unix(self._unix)
            if found is not None:
                return found
        return self._tcp(host or self._settings.server)

    def _sockets(self) -> list[str]:
        chosen = os.environ.get("XE_SOCKET")
        if chosen is not None:
            return [chosen] if chosen else []
        paths = [SYSTEM_SOCKET]
        if "port" not in self._settings.values and "server" not in self._settings.values:
            home = os.path.expanduser("~/.local/state")
            paths.append(os.path.join(os.environ.get("XDG_STATE_HOME") or home, RUN_SOCKET))
        return paths

    def _tcp(self, host: str) -> "Socket":
        import socket  # noqa: PLC0415

        settings = self._settings
        port = settings.port or (443 if settings.tls else 80)
        try:
            plain = socket.create_connection((host, port), timeout=CONNECT_S)
            plain.settimeout(None)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._secure(plain, host) if settings.tls else plain
        except OSError as error:
            raise ClientError(f"Cannot connect to {host} port {port}: {_said(error)}") from error

    def _secure(self, plain: "Socket", host: str) -> "Socket":
        import ssl  # noqa: PLC0415

        settings = self._settings
        verified = settings.is_on("verifycertificate") or bool(settings.get("cafile"))
        context = (
            ssl.create_default_context() if verified else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
        if settings.get("cafile"):
            try:
                context.load_verify_locations(settings.get("cafile"))
            except OSError as error:  # also what is wrong with its content
                text = f"No certificates in {settings.get('cafile')}: {_said(error)}"
                raise ClientError(text) from error
        if not verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.is_on("allowssllegacy"):
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.set_ciphers("ALL:@SECLEVEL=0")
        if settings.get("ciphersuites"):
            context.set_ciphers(settings.get("ciphersuites"))
        try:
            return context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            text = f"The certificate of {host} is not trusted: {error.verify_message}"
            raise ClientError(text) from error


def _unix(path: str) -> "Socket | None":
    found = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        found.connect(path)
    except OSError:
        found.close()
        return None
    return found


def _said(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
