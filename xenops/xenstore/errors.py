"""What can go wrong between us and xenstored."""


class StoreError(Exception):
    """xenstored refused a request; ``name`` is its word, such as ``EACCES``."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self.name = name
        self.path = path

    def __str__(self) -> str:
        return f"xenstore: {self.name} at {self.path or '/'}"


class NoEntry(StoreError):
    """There is nothing at the path."""

    def __init__(self, path: str) -> None:
        super().__init__("ENOENT", path)


class Conflict(StoreError):
    """A transaction met changes of others each time it was tried."""

    def __init__(self, path: str = "") -> None:
        super().__init__("EAGAIN", path)


class StoreTimeout(StoreError):
    """What was waited for did not happen in time."""

    def __init__(self, path: str) -> None:
        super().__init__("ETIMEDOUT", path)


class StoreLost(StoreError):
    """The connection to xenstored is gone; whether a change was made is not known."""

    def __init__(self, reason: str) -> None:
        super().__init__("ENOTCONN", "")
        self.reason = reason

    def __str__(self) -> str:
        return f"xenstored cannot be reached: {self.reason}"


class ProtocolError(Exception):
    """The other side does not speak the xenstore protocol."""


def store_error(name: str, path: str) -> StoreError:
    """Give the error for xenstored's word."""
    match name:
        case "ENOENT":
            return NoEntry(path)
        case "EAGAIN":
            return Conflict(path)
        case _:
            return StoreError(name, path)
