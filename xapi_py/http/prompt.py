"""Connections that send at once what the socket takes.

Twisted keeps what is written until the next turn of its loop asks whether the
socket is ready, which for a short answer costs as much as making it.
"""

from typing import Any

from twisted.internet import tcp, unix


class _Prompt:
    """Goes before a Twisted transport in the order of bases."""

    SEND_LIMIT = 4 << 20

    def write(self: Any, data: bytes) -> None:
        idle = not (self.dataBuffer or self._tempDataBuffer)
        if idle and self.connected and not self._writeDisconnected and self._may_send():
            sent = self.writeSomeData(data)
            if isinstance(sent, int):  # else the connection is lost, as the next turn will see
                if sent < len(data):
                    self.dataBuffer, self.offset = data, sent
                    self._maybePauseProducer()
                    self.startWriting()
                return
        super().write(data)  # type: ignore[misc]

    def _may_send(self: Any) -> bool:
        """Who is asked for more time and again waits for the next turn: it must not recurse."""
        return self.producer is None or bool(self.streamingProducer)


class PromptServer(_Prompt, tcp.Server):
    """The server's side of a TCP connection."""


class PromptUnixServer(_Prompt, unix.Server):
    """The server's side of a connection over a unix socket."""
