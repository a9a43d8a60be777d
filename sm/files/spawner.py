"""The process that SRs' workers are forked from: ``python -m sm.files.spawner``.

Starting Python and reading the driver's modules takes far longer than most of
what a worker does; here that happens once.  Standard input is a socket of
packets: each hands over the connection of one new worker.  It ends with its
input; workers end with their own connections.
"""

import os
import signal
import socket
from contextlib import suppress

from sm.files import worker


def main() -> None:
    """Fork workers until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    orders = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), 0)
    while True:
        data, connections, *_ = socket.recv_fds(orders, 1, 1)
        if not data:
            return
        (connection,) = connections
        if os.fork() == 0:
            orders.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            worker.run(connection)
        os.close(connection)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
