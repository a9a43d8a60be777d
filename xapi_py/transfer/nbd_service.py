"""Serving disks over NBD on the networks that are meant for it.

An export is named ``/<uuid>?session_id=<ref>``, as ``VDI.get_nbd_info`` says;
the session must be good when the connection begins.
Source: briefs, storage section 5.4.
"""

import logging
from collections.abc import Set as AbstractSet
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from xapi_py.api.call import Call, Caller
from xapi_py.api.disk_files import DiskReader, open_reader
from xapi_py.api.toolstack import Toolstack
from xapi_py.api.vdi import nbd
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.http.tls import TlsSettings
from xapi_py.transfer.nbd_protocol import NbdServer

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 16
_FOLLOWED: Final = frozenset({"network", "PIF"})


class _Connections(Factory):
    """Makes the protocols of one listener's connections."""

    noisy = False

    def __init__(self, service: "NbdService") -> None:
        self._service = service

    def buildProtocol(self, addr: IAddress | None) -> NbdServer | None:  # noqa: N802
        return self._service.connection(getattr(addr, "host", ""))


class NbdService:
    """Listens where networks of this host have such a purpose, and only there."""

    def __init__(self, toolstack: Toolstack, reactor: Any) -> None:
        self._toolstack = toolstack
        self._reactor = reactor
        self._listeners: dict[str, Any] = {}
        self._secure = True
        self._open = 0
        toolstack.db.subscribe(self._changed)
        self.follow()

    def _changed(self, classes: AbstractSet[str], generation: int) -> None:
        if not _FOLLOWED.isdisjoint(classes):
            self.follow()

    def follow(self) -> None:
        """Listen where the records say so."""
        toolstack = self._toolstack
        wanted = set(nbd.addresses(toolstack, toolstack.localhost))
        for address in self._listeners.keys() - wanted:
            self._listeners.pop(address).stopListening()
        self._secure = nbd.needs_tls(toolstack, toolstack.localhost)
        for address in wanted - self._listeners.keys():
            self._listen(address)

    def _listen(self, address: str) -> None:
        factory = _Connections(self)
        for port in (nbd.NBD_PORT, 0):
            try:
                listener = self._reactor.listenTCP(port, factory, interface=address)
            except CannotListenError as problem:
                log.warning("NBD: %s", problem)
                continue
            self._listeners[address] = listener
            self._toolstack.nbd_ports[address] = listener.getHost().port
            return

    def connection(self, peer: str) -> NbdServer | None:
        """Make the protocol of a connection; None when there are too many."""
        if self._open >= MAX_CONNECTIONS:
            return None
        self._open += 1

        async def opened(name: str) -> DiskReader:
            return await self._export(name, peer)

        def closed() -> None:
            self._open -= 1

        certificate = self._toolstack.settings.state / "xapi-ssl.pem"
        return NbdServer(opened, TlsSettings(certificate) if self._secure else None, closed)

    async def _export(self, name: str, peer: str) -> DiskReader:
        """Open an export for a client.  Errors: SESSION_INVALID, UUID_INVALID, the storage's..."""
        toolstack, parts = self._toolstack, urlsplit(name)
        session = toolstack.sessions.get(parse_qs(parts.query).get("session_id", [""])[0])
        if not session.superuser and "vdi.get_nbd_info" not in session.permissions:
            raise err.RBAC_PERMISSION_DENIED("VDI.get_nbd_info", "no permission")
        vdi = Ref(toolstack.db.by_uuid("VDI", parts.path.strip("/")))
        row = toolstack.db.row("VDI", vdi)
        if row.type == "cbt_metadata":
            raise err.VDI_INCOMPATIBLE_TYPE(vdi, row.type)
        call = Call(toolstack, session, "NBD", Caller(peer))
        return await open_reader(call, vdi)
