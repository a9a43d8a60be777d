"""What our code needs of a reactor, as protocols: pass the real one or a test clock."""

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that will happen later."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time and delayed calls; ``twisted.internet.task.Clock`` in tests."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, call: Callable[..., Any], /, *args: Any) -> Timer: ...  # noqa: N802


class ByteTransport(Protocol):
    """A connected transport, as far as our protocols use it."""

    def write(self, data: bytes, /) -> None: ...

    def loseConnection(self) -> None: ...  # noqa: N802

    def abortConnection(self) -> None: ...  # noqa: N802
