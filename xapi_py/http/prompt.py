"""Connections that send at once what the socket takes.

Twisted keeps what is written until the next turn of its loop asks whether the
socket is ready, which for a short answer costs as much as making it.
"""

from typing import Any

from twisted.internet import tcp, unix


class _Prompt:
    """Goes before a Twisted transport in the order of bases."""

    def write(self: Any, data: bytes) -> None:
        idle = not (self.dataBuffer or self._tempDataBuffer)
        if idle and self.connected and self.producer is None and not self._writeDisconnected:
            sent = self.writeSomeData(data)
            if isinstance(sent, int):  # else the connection is lost, as the next turn will see
                if sent == len(data):
                    return
                data = data[sent:]
        super().write(data)  # type: ignore[misc]


class PromptServer(_Prompt, tcp.Server):
    """The server's side of a TCP connection."""


class PromptUnixServer(_Prompt, unix.Server):
    """The server's side of a connection over a unix socket."""
