"""A guest's text console on this terminal, until Ctrl-] or the far end closes."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from contextlib import closing
from typing import Any

from xe.connection import Dialler
from xe.failures import ClientError
from xe.http_head import ask, read_head, split_url

ESCAPE = b"\x1d"
RETRY_DELAYS_S = tuple(0.1 * n for n in range(1, 10))
WAIT_EVERY_S = 300.0


def join_console(dialler: Dialler, url: str, still_busy: Callable[[], None]) -> bool:
    """Copy bytes both ways; False when there is no console."""
    host, path = split_url(url)
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            connection = dialler.transfer(host)
            ask(connection, "CONNECT", path, 0)
            head = read_head(connection)
        except (ClientError, OSError):
            if delay_s is None:
                raise
            time.sleep(delay_s)
            continue
        break
    with closing(connection):
        if head.status == 404:
            print("The console is not available", file=sys.stderr)
            return False
        if head.status != 200:
            print(head.status_line, file=sys.stderr)
            return False
        os.write(1, head.rest)
        _copy(connection, still_busy)
    return True


def _copy(connection: Any, still_busy: Callable[[], None]) -> None:
    keyboard = sys.stdin.fileno()
    saved = termios.tcgetattr(keyboard) if os.isatty(keyboard) else None
    if saved is not None:
        tty.setraw(keyboard, termios.TCSADRAIN)  # keys typed early are kept
    try:
        _pump(connection, keyboard, still_busy)
    finally:
        if saved is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, saved)
            print()


def _pump(connection: Any, keyboard: int, still_busy: Callable[[], None]) -> None:
    reading = [connection, keyboard]
    while True:
        ready, _, _ = select.select(reading, [], [], WAIT_EVERY_S)
        if not ready:
            still_busy()
        if keyboard in ready:
            typed = os.read(keyboard, 4096)
            before, escape, _ = typed.partition(ESCAPE)
            if before:
                connection.sendall(before)
            if escape:
                return
            if not typed:
                reading.remove(keyboard)
        if connection in ready:
            data = connection.recv(16384)
            if not data:
                return
            os.write(1, data)
