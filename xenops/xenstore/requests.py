"""The requests a client can make, inside and outside transactions.

Every method sends at once and gives a Deferred of the answer, so that several
requests made one after the other cost one round trip.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from xenops.xenstore.codec import (
    PATH_MAX,
    PAYLOAD_MAX,
    MessageType,
    split,
    strings,
    to_bytes,
    to_text,
)
from xenops.xenstore.errors import NoEntry, StoreError

T = TypeVar("T")
Parse = Callable[[bytes], T]


def _nothing(payload: bytes) -> None:
    return None


class Requests:
    """Requests on the tree; ``_send`` is where they go.

    Paths are absolute.  Errors: NoEntry, StoreError with the word of xenstored,
    StoreLost when the connection ends before the answer.
    """

    def _send(
        self, type_: MessageType, payload: bytes, path: str, parse: Parse[T]
    ) -> "Deferred[T]":
        raise NotImplementedError

    def _request(
        self, type_: MessageType, payload: bytes, path: str, parse: Parse[T]
    ) -> "Deferred[T]":
        if len(payload) > PAYLOAD_MAX or len(path) > PATH_MAX:
            return fail(StoreError("E2BIG", path))
        if "\0" in path:
            return fail(StoreError("EINVAL", path))
        return self._send(type_, payload, path, parse)

    def read(self, path: str) -> "Deferred[str]":
        """Give the value at a path."""
        return self._request(MessageType.READ, strings(path), path, to_text)

    def read_or(self, path: str, default: str | None = None) -> "Deferred[str | None]":
        """Give the value at a path, or ``default`` when there is nothing."""

        def absent(failure: Failure) -> str | None:
            failure.trap(NoEntry)
            return default

        answer: Deferred[str | None] = self._request(MessageType.READ, strings(path), path, to_text)
        return answer.addErrback(absent)

    def read_many(self, paths: Iterable[str]) -> "Deferred[dict[str, str]]":
        """Give the values at the paths where there is one."""
        wanted = list(paths)

        def found(values: list[str | None]) -> dict[str, str]:
            pairs = zip(wanted, values, strict=True)
            return {path: value for path, value in pairs if value is not None}

        return all_of([self.read_or(path) for path in wanted]).addCallback(found)

    def write(self, path: str, value: str) -> "Deferred[None]":
        """Set a value; parents are made as needed, with the permissions of theirs."""
        payload = strings(path) + to_bytes(value)
        return self._request(MessageType.WRITE, payload, path, _nothing)

    def write_many(self, values: Mapping[str, str]) -> "Deferred[None]":
        """Set values in order; all are sent, also when one of them fails."""
        return all_of([self.write(path, value) for path, value in values.items()]).addCallback(
            lambda _: None
        )

    def mkdir(self, path: str) -> "Deferred[None]":
        """Make a node with an empty value; one that is there stays as it is."""
        return self._request(MessageType.MKDIR, strings(path), path, _nothing)

    def remove(self, path: str) -> "Deferred[None]":
        """Remove a node with all below it; nothing to do when it is absent."""

        def absent(failure: Failure) -> None:
            failure.trap(NoEntry)

        return self._request(MessageType.RM, strings(path), path, _nothing).addErrback(absent)

    def remove_many(self, paths: Iterable[str]) -> "Deferred[None]":
        """Remove several nodes."""
        return all_of([self.remove(path) for path in paths]).addCallback(lambda _: None)

    def directory(self, path: str) -> "Deferred[list[str]]":
        """Give the names of the children; a long list comes in several parts."""

        def too_large(failure: Failure) -> "Deferred[list[str]]":
            error = failure.value
            if not isinstance(error, StoreError) or error.name != "E2BIG":
                return fail(failure)
            return Deferred.fromCoroutine(self._directory_in_parts(path))

        answer: Deferred[list[str]] = self._request(
            MessageType.DIRECTORY, strings(path), path, split
        )
        return answer.addErrback(too_large)

    async def _directory_in_parts(self, path: str) -> list[str]:
        generation, names = b"", b""
        while True:
            payload = strings(path, str(len(names)))
            part = await self._request(MessageType.DIRECTORY_PART, payload, path, bytes)
            now, _, chunk = part.partition(b"\0")
            if names and now != generation:
                names = b""  # it changed meanwhile: from the beginning
                continue
            generation = now
            names += chunk
            if not chunk or names == b"\0" or names.endswith(b"\0\0"):
                return split(names[:-1])

    def get_permissions(self, path: str) -> "Deferred[tuple[str, ...]]":
        """Give the permissions as words such as ``n0`` and ``r5``.

        A word is a letter (n none, r read, w write, b both) and a domain; the
        first names the owner, and what all others may do.
        """
        return self._request(
            MessageType.GET_PERMS, strings(path), path, lambda payload: tuple(split(payload))
        )

    def set_permissions(self, path: str, permissions: Sequence[str]) -> "Deferred[None]":
        """Replace the permissions of one node; see ``get_permissions``."""
        payload = strings(path, *permissions)
        return self._request(MessageType.SET_PERMS, payload, path, _nothing)

    def tree(self, path: str) -> "Deferred[dict[str, str]]":
        """Give all values below a path by relative path, {} when it is absent.

        Costs a round trip for each level.
        """
        return Deferred.fromCoroutine(self._tree(path))

    async def _tree(self, top: str) -> dict[str, str]:
        found: dict[str, str] = {}
        level = [""]
        while level:
            listings = await all_of([self.children(join(top, name)) for name in level])
            below = [
                join(name, child)
                for name, children in zip(level, listings, strict=True)
                for child in children
            ]
            values = await self.read_many([join(top, name) for name in below])
            for name in below:
                value = values.get(join(top, name))
                if value is not None:
                    found[name] = value
            level = below
        return found

    def children(self, path: str) -> "Deferred[list[str]]":
        """Give the names of the children, none when there is nothing at the path."""

        def absent(failure: Failure) -> list[str]:
            failure.trap(NoEntry)
            return []

        return self.directory(path).addErrback(absent)


def join(top: str, name: str) -> str:
    """Give the path of ``name`` below ``top``; either may be empty, ``top`` may be the root."""
    return f"{top.rstrip('/')}/{name}" if top and name else top or name


def all_of(answers: "Sequence[Deferred[T]]") -> "Deferred[list[T]]":
    """Give all results once all are there; the first failure at the end, if any."""
    if not answers:
        return succeed([])
    gathered = _Gathered(answers)
    return gathered.done


class _Gathered(Generic[T]):
    def __init__(self, answers: "Sequence[Deferred[T]]") -> None:
        self._answers = answers
        self._results: dict[int, T] = {}
        self._missing = len(answers)
        self._failure: Failure | None = None
        self.done: Deferred[list[T]] = Deferred(self._cancel)
        for place, answer in enumerate(answers):
            answer.addBoth(self._answered, place)

    def _cancel(self, done: object) -> None:
        for answer in self._answers:
            answer.cancel()

    def _answered(self, result: T | Failure, place: int) -> None:
        self._missing -= 1
        if isinstance(result, Failure):
            self._failure = self._failure or result
        else:
            self._results[place] = result
        if self._missing == 0 and not self.done.called:
            if self._failure is not None:
                self.done.errback(self._failure)
            else:
                self.done.callback([self._results[n] for n in range(len(self._answers))])
