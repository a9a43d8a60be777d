"""The client: requests, transactions, watches and waiting for values."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, fail
from twisted.python.failure import Failure

from xapi_py.base.reactor import Clock
from xenops.xenstore.codec import Decoder, Message, MessageType, encode, split, strings, to_text
from xenops.xenstore.errors import (
    Conflict,
    ProtocolError,
    StoreLost,
    StoreTimeout,
    store_error,
)
from xenops.xenstore.requests import Parse, Requests, all_of
from xenops.xenstore.transport import Connection, Dial, default_address, dial

log = logging.getLogger(__name__)

T = TypeVar("T")
ATTEMPTS: Final = 64
"""How often a transaction is tried; from the second time on, one of ours at a time."""

RECONNECT_S: Final = (0.05, 2.0)
"""First and longest wait before a new connection is tried."""


class Watch:
    """A registered watch: ``callback`` gets each path that changed at or below ``path``.

    It is also called once when the watch is set, and again after a reconnect.
    """

    def __init__(
        self, store: "XenStore", path: str, token: str, callback: Callable[[str], object]
    ) -> None:
        self.path = path
        self.token = token
        self.callback = callback
        self._store = store

    def stop(self) -> None:
        """End it; the callback is not called any more."""
        self._store.unwatch(self)


class XenStore(Requests):
    """A connection to xenstored that comes back when it was lost.

    Requests made while it is lost fail at once with StoreLost.
    """

    def __init__(self, clock: Clock, way: Dial) -> None:
        self._clock = clock
        self._dial = way
        self._connection: Connection | None = None
        self._decoder = Decoder()
        self._pending: dict[int, tuple[Deferred[Any], str, Parse[Any]]] = {}
        self._last_request = 0
        self._watches: dict[str, Watch] = {}
        self._last_token = 0
        self._waiters: set[Deferred[None]] = set()
        self._one_at_a_time = DeferredLock()
        self._wait_s = RECONNECT_S[0]
        self._closed = False

    @classmethod
    async def connect(cls, reactor: Any, address: str | None = None) -> "XenStore":
        """Give an open client.  Errors: StoreLost when nobody answers."""
        store = cls(reactor, dial(reactor, address or default_address()))
        await store.open()
        return store

    async def open(self) -> None:
        """Connect for the first time.  Errors: StoreLost."""
        self._connection = await self._dial(self)

    @property
    def connected(self) -> bool:
        """Whether requests can be made."""
        return self._connection is not None

    def close(self) -> None:
        """End the connection for good; who still waits gets StoreLost."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
        self.lost("closed")

    def received(self, data: bytes) -> None:
        """Take bytes of xenstored; for the transport."""
        try:
            messages = self._decoder.feed(data)
        except ProtocolError as error:
            log.error("xenstored: %s", error)
            if self._connection is not None:
                self._connection.close()
            return
        for message in messages:
            if message.type == MessageType.WATCH_EVENT:
                self._event(message.payload)
            else:
                self._reply(message)

    def _event(self, payload: bytes) -> None:
        words = split(payload)
        watch = self._watches.get(words[1]) if len(words) > 1 else None
        if watch is not None:
            try:
                watch.callback(words[0])
            except Exception:
                log.exception("watch on %s", watch.path)

    def _reply(self, message: Message) -> None:
        found = self._pending.pop(message.request_id, None)
        if found is None:
            log.warning("xenstored answers request %d, which nobody made", message.request_id)
            return
        answer, path, parse = found
        if message.type == MessageType.ERROR:
            answer.errback(store_error(message.payload.rstrip(b"\0").decode("ascii"), path))
            return
        try:
            result = parse(message.payload)
        except ValueError:
            answer.errback(store_error("EPROTO", path))
        else:
            answer.callback(result)

    def lost(self, reason: str) -> None:
        """Take note that the connection ended; for the transport."""
        self._connection = None
        self._decoder = Decoder()
        pending, self._pending = self._pending, {}
        waiters, self._waiters = self._waiters, set()
        for answer, _, _ in pending.values():
            answer.errback(StoreLost(reason))
        for waiter in waiters:
            waiter.errback(StoreLost(reason))
        if not self._closed:
            log.error("xenstored is lost: %s", reason)
            self._again()

    def _again(self) -> None:
        self._clock.callLater(self._wait_s, self._try_again)
        self._wait_s = min(self._wait_s * 2, RECONNECT_S[1])

    def _try_again(self) -> None:
        if not self._closed:
            Deferred.fromCoroutine(self._reconnect()).addErrback(self._still_lost)

    async def _reconnect(self) -> None:
        self._connection = await self._dial(self)
        self._wait_s = RECONNECT_S[0]
        log.info("xenstored is back")
        for watch in self._watches.values():
            self._register(watch)

    def _still_lost(self, failure: Failure) -> None:
        if not failure.check(StoreLost):
            log.error("xenstored: %s", failure.getTraceback())
        self._again()

    def _send(
        self, type_: MessageType, payload: bytes, path: str, parse: Parse[T]
    ) -> "Deferred[T]":
        return self.send(type_, 0, payload, path, parse)

    def send(
        self, type_: MessageType, transaction: int, payload: bytes, path: str, parse: Parse[T]
    ) -> "Deferred[T]":
        """Send one request; for ``Requests`` and ``Transaction``."""
        if self._connection is None:
            return fail(StoreLost("not connected"))
        self._last_request = number = (self._last_request + 1) & 0xFFFFFFFF
        answer: Deferred[T] = Deferred()
        self._pending[number] = (answer, path, parse)
        self._connection.write(encode(Message(type_, number, transaction, payload)))
        return answer

    def get_domain_path(self, domid: int) -> "Deferred[str]":
        """Give the home of a domain."""
        payload = strings(str(domid))
        return self._request(MessageType.GET_DOMAIN_PATH, payload, "", _one_word)

    def introduce(self, domid: int, mfn: int, port: int) -> "Deferred[None]":
        """Let a domain use the store through a page of its memory and an event channel."""
        payload = strings(str(domid), str(mfn), str(port))
        return self._request(MessageType.INTRODUCE, payload, f"domain {domid}", lambda _: None)

    def release(self, domid: int) -> "Deferred[None]":
        """End the store's connection to a domain."""
        payload = strings(str(domid))
        return self._request(MessageType.RELEASE, payload, f"domain {domid}", lambda _: None)

    def is_introduced(self, domid: int) -> "Deferred[bool]":
        """Whether the store knows a domain."""
        payload = strings(str(domid))
        return self._request(
            MessageType.IS_DOMAIN_INTRODUCED, payload, "", lambda data: data.startswith(b"T")
        )

    def resume(self, domid: int) -> "Deferred[None]":
        """Note that a domain that had stopped runs again."""
        payload = strings(str(domid))
        return self._request(MessageType.RESUME, payload, f"domain {domid}", lambda _: None)

    def set_target(self, domid: int, target: int) -> "Deferred[None]":
        """Let a domain act with the rights of another, its target."""
        payload = strings(str(domid), str(target))
        return self._request(MessageType.SET_TARGET, payload, "", lambda _: None)

    async def transaction(self, function: "Callable[[Transaction], Awaitable[T]]") -> T:
        """Run ``function`` so that all it changes is seen at once, or not at all.

        It is run again when somebody else changed what it read, so it may have
        no other effects.  Errors: what it raises, after which nothing has
        changed; Conflict when it met changes every time.
        """
        try:
            return await self._attempt(function)
        except Conflict:
            pass
        for _ in range(ATTEMPTS - 1):
            await self._one_at_a_time.acquire()
            try:
                return await self._attempt(function)
            except Conflict:
                continue
            finally:
                self._one_at_a_time.release()
        raise Conflict

    async def _attempt(self, function: "Callable[[Transaction], Awaitable[T]]") -> T:
        start = self._send(MessageType.TRANSACTION_START, b"\0", "", _number)
        transaction = Transaction(self, await start)
        try:
            result = await function(transaction)
            await transaction.settled()
        except BaseException:
            if self.connected:
                transaction.end(commit=False).addErrback(lambda _: None)
            raise
        await transaction.end(commit=True)
        return result

    def watch(self, path: str, callback: Callable[[str], object]) -> Watch:
        """Call back at every change at or below a path, from now on."""
        self._last_token += 1
        watch = Watch(self, path, str(self._last_token), callback)
        self._watches[watch.token] = watch
        if self.connected:
            self._register(watch)
        return watch

    def _register(self, watch: Watch) -> None:
        def failed(failure: Failure) -> None:
            if not failure.check(StoreLost):
                log.error("watch on %s: %s", watch.path, failure.value)

        payload = strings(watch.path, watch.token)
        self._request(MessageType.WATCH, payload, watch.path, lambda _: None).addErrback(failed)

    def unwatch(self, watch: Watch) -> None:
        """End a watch; one that has ended is left alone."""
        if self._watches.pop(watch.token, None) is not None and self.connected:
            payload = strings(watch.path, watch.token)
            answer = self._request(MessageType.UNWATCH, payload, watch.path, lambda _: None)
            answer.addErrback(lambda _: None)  # it went with the connection

    async def wait_for(
        self, path: str, predicate: Callable[[str | None], bool], timeout_s: float
    ) -> str | None:
        """Wait until the value at a path, None when absent, is what was wanted; give it.

        Errors: StoreTimeout; StoreLost.
        """

        async def check() -> tuple[str | None] | None:
            value = await self.read_or(path)
            return (value,) if predicate(value) else None

        return (await self.wait_until([path], check, timeout_s))[0]

    async def wait_until(
        self, paths: Sequence[str], check: Callable[[], Awaitable[T | None]], timeout_s: float
    ) -> T:
        """Wait until ``check`` gives something; it is asked again after each change.

        Changes at or below any of ``paths`` count.  Errors: StoreTimeout with
        the first path; StoreLost; what ``check`` raises.
        """
        signal = _Signal(self._clock, timeout_s)
        watches = [self.watch(path, signal.ring) for path in paths]
        try:
            while True:
                signal.clear()
                found = await check()
                if found is not None:
                    return found
                await self._ring(signal, paths[0])
        finally:
            signal.stop()
            for watch in watches:
                watch.stop()

    async def _ring(self, signal: "_Signal", path: str) -> None:
        if not self.connected:
            raise StoreLost("not connected")
        waiter: Deferred[None] = Deferred()
        self._waiters.add(waiter)
        try:
            if not await signal.wait(waiter):
                raise StoreTimeout(path)
        finally:
            self._waiters.discard(waiter)


class Transaction(Requests):
    """Requests within one transaction; see ``XenStore.transaction``."""

    def __init__(self, store: XenStore, number: int) -> None:
        self._store = store
        self._number = number
        self._under_way: list[Deferred[None]] = []
        self._failure: Failure | None = None

    def _send(
        self, type_: MessageType, payload: bytes, path: str, parse: Parse[T]
    ) -> "Deferred[T]":
        answer = self._store.send(type_, self._number, payload, path, parse)
        done: Deferred[None] = Deferred()
        changes = type_ in (MessageType.WRITE, MessageType.MKDIR, MessageType.SET_PERMS)

        def answered(result: T | Failure) -> T | Failure:
            if changes and isinstance(result, Failure):
                self._failure = self._failure or result
            done.callback(None)
            return result

        self._under_way.append(done)
        return answer.addBoth(answered)

    async def settled(self) -> None:
        """Wait until all requests are answered.  Errors: that of the first failed change."""
        await all_of(self._under_way)
        if self._failure is not None:
            self._failure.raiseException()

    def end(self, *, commit: bool) -> "Deferred[None]":
        """Make the changes seen, or forget them.  Errors: Conflict."""
        payload = b"T\0" if commit else b"F\0"
        return self._store.send(
            MessageType.TRANSACTION_END, self._number, payload, "", lambda _: None
        )


class _Signal:
    """A bell that may ring before anybody listens, and stops waiting after a while."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._rung = False
        self._expired = False
        self._waiter: Deferred[None] | None = None
        self._timer = clock.callLater(max(0.0, timeout_s), self._expire)

    def clear(self) -> None:
        self._rung = False

    def ring(self, path: str) -> None:
        self._rung = True
        self._wake()

    def _expire(self) -> None:
        self._expired = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    async def wait(self, waiter: "Deferred[None]") -> bool:
        """Wait for the bell; whether it rang before the time was up."""
        if not self._rung and not self._expired:
            self._waiter = waiter
            await waiter
        return self._rung

    def stop(self) -> None:
        self._waiter = None
        if self._timer.active():
            self._timer.cancel()


def _one_word(payload: bytes) -> str:
    return to_text(payload.rstrip(b"\0"))


def _number(payload: bytes) -> int:
    return int(payload.rstrip(b"\0"))
