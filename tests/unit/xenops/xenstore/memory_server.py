"""A xenstored in memory: its semantics, without its process, and faults on demand.

Replies come before the request's call returns; watch events right after the
reply of the request that caused them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from xapi_py.base.reactor import Clock
from xenops.xenstore.client import XenStore
from xenops.xenstore.codec import (
    PAYLOAD_MAX,
    Decoder,
    Message,
    MessageType,
    encode,
    split,
    strings,
    to_bytes,
    to_text,
)
from xenops.xenstore.errors import StoreLost
from xenops.xenstore.transport import Connection, Receiver


class Refused(Exception):
    """The request fails with this word."""


@dataclass
class Node:
    value: bytes = b""
    permissions: tuple[str, ...] = ("n0",)
    generation: int = 0


Tree = dict[str, Node]


@dataclass
class Open:
    """A transaction: its own copy of the tree, what it read and what it changed."""

    tree: Tree
    read: dict[str, int] = field(default_factory=dict)
    changed: list[tuple[str, bool]] = field(default_factory=list)


def parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class MemoryXenStore:
    """The tree, shared by all connections; ``faults`` are words for the next requests of a type."""

    def __init__(self) -> None:
        self.tree: Tree = {"/": Node()}
        self.introduced: dict[int, tuple[int, int]] = {}
        self.released: list[int] = []
        self.connections: list[MemoryConnection] = []
        self.faults: dict[MessageType, list[str]] = {}
        self.requests: list[Message] = []
        self.refuse_connections = 0
        self.generation = 0

    async def dial(self, receiver: Receiver) -> Connection:
        """Connect a client."""
        if self.refuse_connections:
            self.refuse_connections -= 1
            raise StoreLost("connection refused")
        connection = MemoryConnection(self, receiver)
        self.connections.append(connection)
        return connection

    def lose_connections(self) -> None:
        """End all connections, as a killed xenstored does; the tree stays."""
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.receiver.lost("killed")

    def value(self, path: str) -> str | None:
        """Give a value as a test sees it."""
        node = self.tree.get(path)
        return None if node is None else to_text(node.value)

    def put(self, path: str, value: str) -> None:
        """Change a value as some other client, such as a guest, does."""
        self.generation += 1
        store(self.tree, path, to_bytes(value), self.generation)
        self.fire([(path, False)])

    def drop(self, path: str) -> None:
        """Remove a subtree as some other client does."""
        self.generation += 1
        erase(self.tree, path)
        self.fire([(path, True)])

    def below(self, path: str) -> dict[str, str]:
        """Give all values at and below a path."""
        return {
            name: to_text(node.value)
            for name, node in sorted(self.tree.items())
            if name == path or name.startswith(path.rstrip("/") + "/")
        }

    def fire(self, changes: Iterable[tuple[str, bool]]) -> None:
        """Tell the watches of all connections."""
        for path, removed in changes:
            for connection in list(self.connections):
                connection.fire(path, removed)


def store(tree: Tree, path: str, value: bytes, generation: int) -> None:
    missing = []
    above = parent(path)
    while above not in tree:
        missing.append(above)
        above = parent(above)
    inherited = tree[above].permissions
    for name in reversed(missing):
        tree[name] = Node(b"", inherited, generation)
    old = tree.get(path)
    kept = old.permissions if old else inherited
    tree[path] = Node(value, kept, generation)
    if old is None:
        touch(tree, parent(path), generation)


def touch(tree: Tree, path: str, generation: int) -> None:
    node = tree[path]
    tree[path] = Node(node.value, node.permissions, generation)


def erase(tree: Tree, path: str) -> None:
    for name in [n for n in tree if n == path or n.startswith(path + "/")]:
        del tree[name]


class MemoryConnection:
    """One client's connection."""

    def __init__(self, server: MemoryXenStore, receiver: Receiver) -> None:
        self.server = server
        self.receiver = receiver
        self.watches: list[tuple[str, str]] = []
        self._transactions: dict[int, Open] = {}
        self._last = 0
        self._decoder = Decoder()

    def write(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            self._answer(message)

    def close(self) -> None:
        if self in self.server.connections:
            self.server.connections.remove(self)

    def _answer(self, message: Message) -> None:
        self.server.requests.append(message)
        type_ = MessageType(message.type)
        changes: list[tuple[str, bool]] = []
        try:
            faults = self.server.faults.get(type_)
            if faults:
                raise Refused(faults.pop(0))
            payload = self._carry_out(type_, message, changes)
            if len(payload) > PAYLOAD_MAX:
                raise Refused("E2BIG")
        except Refused as refused:
            type_, payload, changes = MessageType.ERROR, strings(str(refused)), []
        reply = Message(type_, message.request_id, message.transaction_id, payload)
        self.receiver.received(encode(reply))
        self.server.fire(changes)
        if type_ is MessageType.WATCH:
            self._event(*split(message.payload)[:2])

    def fire(self, path: str, removed: bool) -> None:
        for watched, token in list(self.watches):
            below = path == watched or path.startswith(watched.rstrip("/") + "/")
            if below:
                self._event(path, token)
            elif removed and watched.startswith(path + "/"):
                self._event(watched, token)

    def _event(self, path: str, token: str) -> None:
        self.receiver.received(encode(Message(MessageType.WATCH_EVENT, 0, 0, strings(path, token))))

    def _carry_out(
        self, type_: MessageType, message: Message, changes: list[tuple[str, bool]]
    ) -> bytes:
        words = split(message.payload)
        server = self.server
        match type_:
            case MessageType.TRANSACTION_START:
                self._last += 1
                self._transactions[self._last] = Open(dict(server.tree))
                return strings(str(self._last))
            case MessageType.TRANSACTION_END:
                return self._end(message.transaction_id, words[0] == "T", changes)
            case MessageType.WATCH:
                if (words[0], words[1]) in self.watches:
                    raise Refused("EEXIST")
                self.watches.append((words[0], words[1]))
                return b"OK\0"
            case MessageType.UNWATCH:
                if (words[0], words[1]) not in self.watches:
                    raise Refused("ENOENT")
                self.watches.remove((words[0], words[1]))
                return b"OK\0"
            case MessageType.INTRODUCE:
                server.introduced[int(words[0])] = (int(words[1]), int(words[2]))
                changes.append(("@introduceDomain", False))
                return b"OK\0"
            case MessageType.RELEASE:
                server.introduced.pop(int(words[0]), None)
                server.released.append(int(words[0]))
                changes.append(("@releaseDomain", False))
                return b"OK\0"
            case MessageType.IS_DOMAIN_INTRODUCED:
                return b"T\0" if int(words[0]) in server.introduced else b"F\0"
            case MessageType.GET_DOMAIN_PATH:
                return strings(f"/local/domain/{words[0]}")
            case MessageType.SET_TARGET | MessageType.RESUME:
                return b"OK\0"
            case _:
                return self._on_tree(type_, message, words, changes)

    def _on_tree(
        self,
        type_: MessageType,
        message: Message,
        words: list[str],
        changes: list[tuple[str, bool]],
    ) -> bytes:
        server = self.server
        whole = self._transactions.get(message.transaction_id)
        if message.transaction_id and whole is None:
            raise Refused("ENOENT")
        tree = whole.tree if whole else server.tree
        path = words[0]
        if whole is not None:
            known = server.tree.get(path)
            whole.read.setdefault(path, known.generation if known else -1)
            changes = whole.changed
        if type_ in (MessageType.WRITE, MessageType.MKDIR):
            value = message.payload.partition(b"\0")[2]
            if type_ is MessageType.WRITE or path not in tree:
                server.generation += 1
                store(tree, path, value if type_ is MessageType.WRITE else b"", server.generation)
                changes.append((path, False))
            return b"OK\0"
        node = tree.get(path)
        if node is None:
            raise Refused("ENOENT")
        match type_:
            case MessageType.READ:
                return node.value
            case MessageType.DIRECTORY:
                return strings(*children(tree, path))
            case MessageType.DIRECTORY_PART:
                names = strings(*children(tree, path)) + b"\0"
                offset = int(words[1])
                return strings(str(node.generation)) + names[offset : offset + 2000]
            case MessageType.GET_PERMS:
                return strings(*node.permissions)
            case MessageType.SET_PERMS:
                tree[path] = Node(node.value, tuple(words[1:]), node.generation)
                changes.append((path, False))
                return b"OK\0"
            case MessageType.RM:
                server.generation += 1
                erase(tree, path)
                touch(tree, parent(path), server.generation)
                changes.append((path, True))
                return b"OK\0"
            case _:
                raise Refused("ENOSYS")

    def _end(self, number: int, commit: bool, changes: list[tuple[str, bool]]) -> bytes:
        whole = self._transactions.pop(number, None)
        if whole is None:
            raise Refused("ENOENT")
        if not commit:
            return b"OK\0"
        server = self.server
        for path, generation in whole.read.items():
            known = server.tree.get(path)
            if (known.generation if known else -1) != generation:
                raise Refused("EAGAIN")
        for path, removed in whole.changed:
            self._replay(whole.tree, path, removed)
        changes.extend(whole.changed)
        return b"OK\0"

    def _replay(self, tree: Tree, path: str, removed: bool) -> None:
        server = self.server
        if removed and path not in tree:
            erase(server.tree, path)
            return
        if removed:
            erase(server.tree, path)
        if path in tree:
            node = tree[path]
            above = parent(path)
            while above not in server.tree and above in tree:
                server.tree[above] = tree[above]
                above = parent(above)
            server.tree[path] = Node(node.value, node.permissions, node.generation)


def children(tree: Tree, path: str) -> list[str]:
    top = path.rstrip("/") + "/"
    return sorted({n[len(top) :].partition("/")[0] for n in tree if n.startswith(top) and n != top})


async def connected(clock: Clock, server: MemoryXenStore) -> XenStore:
    """Give a client of a server in memory."""
    client = XenStore(clock, server.dial)
    await client.open()
    return client
