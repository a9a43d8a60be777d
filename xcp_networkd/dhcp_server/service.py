"""The sockets of the DHCP server, one a bridge."""

import contextlib
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol

from xapi_py.base.rpc.errors import RpcError
from xcp_networkd import errors, state_file
from xcp_networkd.dhcp_server import packets
from xcp_networkd.dhcp_server.packets import Leases

log = logging.getLogger(__name__)

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68


class _Listener(DatagramProtocol):
    """Answers the clients on one bridge."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802
        answer = packets.answer(datagram, self.leases)
        if answer is not None and self.transport is not None:
            transport: Any = self.transport
            transport.write(answer.packet, (answer.address, CLIENT_PORT))


class DhcpServer:
    """Serve fixed leases on bridges; what is served outlives the daemon in a file."""

    def __init__(self, file: Path, reactor: Any) -> None:
        self._file = file
        self._reactor = reactor
        self._open: dict[str, tuple[int, _Listener, Any]] = {}

    def start(self) -> None:
        """Go on with what an earlier process served; a bridge that has gone is left out."""
        for bridge, kept in (state_file.read(self._file) or {}).items():
            assert isinstance(kept, dict)
            with contextlib.suppress(RpcError):
                self._serve(bridge, Leases(**kept))

    def stop(self) -> None:
        """Close the sockets."""
        for bridge in tuple(self._open):
            self._close(bridge)

    def set_leases(self, bridge: str, leases: Leases) -> None:
        """Serve exactly these leases on a bridge; none ends it.

        Errors: Interface_does_not_exist, Script_error.
        """
        if leases.by_mac:
            self._serve(bridge, leases)
        else:
            self._close(bridge)
        kept = {
            name: {"address": it.address, "prefix_length": it.prefix_length, "by_mac": it.by_mac}
            for name, (_, listener, _) in self._open.items()
            for it in (listener.leases,)
        }
        state_file.write(self._file, kept, durable=False)

    def leases_of(self, bridge: str) -> Mapping[str, str]:
        """Give the leases of a bridge by MAC, nothing where there is no service."""
        there = self._open.get(bridge)
        return {} if there is None else there[1].leases.by_mac

    def _serve(self, bridge: str, leases: Leases) -> None:
        try:
            index = socket.if_nametoindex(bridge)
        except OSError as problem:
            raise errors.no_interface(bridge) from problem
        there = self._open.get(bridge)
        if there is not None and there[0] == index:
            there[1].leases = leases
            return
        self._close(bridge)
        listener = _Listener(leases)
        self._open[bridge] = (index, listener, self._listen(bridge, listener))

    def _listen(self, bridge: str, listener: _Listener) -> Any:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            try:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
                opened.bind(("", SERVER_PORT))
            except OSError as problem:
                raise errors.script_error(f"no DHCP on {bridge}: {problem}") from problem
            opened.setblocking(False)
            return self._reactor.adoptDatagramPort(opened.fileno(), socket.AF_INET, listener)

    def _close(self, bridge: str) -> None:
        there = self._open.pop(bridge, None)
        if there is not None:
            there[2].stopListening()
