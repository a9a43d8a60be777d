"""What journeys are made of: clients with one form, tasks, and a second client that watches.

A ``User`` calls over any transport; a ``Watcher`` follows event.from in a session
of its own and keeps what it was told, as every graphical client does.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import XenAPI

from tests.integration.running_pool import Endpoint, JsonClient

NULL = "OpaqueRef:NULL"
GIB = 1 << 30
TRANSPORTS = ("http", "https", "unix", "json-1.0", "json-2.0")
WAIT_S = 30.0
_REFERENCE = re.compile(r"<value>(OpaqueRef:[^<]*)</value>")

Record = dict[str, Any]


class User:
    """One session of one client: ``user("VM.start", vm, False, False)``."""

    def __init__(self, call: Callable[..., Any], is_xml: bool) -> None:
        self._call = call
        self.is_xml = is_xml

    def __call__(self, method: str, *params: object) -> Any:
        """Call; raises XenAPI.Failure for an error."""
        return self._call(method, *params)

    def int(self, number: int) -> Any:
        """Give a number as this protocol carries it in parameters."""
        return str(number) if self.is_xml else number

    def task(self, method: str, *params: object) -> str:
        """Call through a task, wait for its end and destroy it, as XenCenter's actions do.

        Gives the reference in its result, or the result's text.
        Errors: XenAPI.Failure with the task's error_info.
        """
        task = self(f"Async.{method}", *params)
        deadline = time.monotonic() + 60
        while (state := self("task.get_record", task))["status"] in ("pending", "cancelling"):
            assert time.monotonic() < deadline, f"{method} goes on: {state}"
            time.sleep(0.02)
        self("task.destroy", task)
        if state["status"] != "success":
            raise XenAPI.Failure(state["error_info"])
        found = _REFERENCE.fullmatch(state["result"])
        return found[1] if found else str(state["result"])

    def one(self, cls: str, label: str) -> str:
        """Give the only object of a name."""
        (ref,) = self(f"{cls}.get_by_name_label", label)
        return str(ref)

    def pool(self) -> str:
        (ref,) = self("pool.get_all")
        return str(ref)

    def host(self) -> str:
        (ref,) = self("host.get_all")
        return str(ref)


@contextlib.contextmanager
def user(endpoint: Endpoint, transport: str = "http") -> Iterator[User]:
    """Log in over one of TRANSPORTS; log out after."""
    if transport.startswith("json"):
        client: JsonClient = endpoint.json(transport.removeprefix("json-"))
        yield User(client.login().call, is_xml=False)
        client.call("session.logout")
        return
    with endpoint.session(transport) as session:

        def call(method: str, *params: object) -> Any:
            cls, name = method.rsplit(".", 1)
            return getattr(getattr_path(session.xenapi, cls), name)(*params)

        yield User(call, is_xml=True)


def getattr_path(value: Any, path: str) -> Any:
    """Follow a dotted name."""
    for name in path.split("."):
        value = getattr(value, name)
    return value


class Watcher:
    """A second session that follows all events in a thread.

    ``records[cls][ref]`` is what it knows, ``history`` all events in order as
    ``(class, operation, ref, snapshot)``, class names in lower case.
    """

    def __init__(self, watched: User) -> None:
        self._user = watched
        self.records: dict[str, dict[str, Record]] = {}
        self.history: list[tuple[str, str, str, Record]] = []
        self.counts: dict[str, Any] = {}
        self.problem: BaseException | None = None
        self._token = ""
        self._changed = threading.Condition()
        self._ended = False
        self._take()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop following; raises what went wrong."""
        self._ended = True
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self.problem is not None:
            raise self.problem

    def until(self, what: str, holds: Callable[[], object]) -> None:
        """Wait for events that make a condition true."""
        with self._changed:
            seen = self._changed.wait_for(lambda: self.problem or holds(), WAIT_S)
        if self.problem is not None:
            raise self.problem
        assert seen, f"no event told that {what}"

    def until_same(self, user: User, cls: str, ref: str) -> Record:
        """Wait until an object is known as the server has it now, and give its record."""
        wanted: Record = user(f"{cls}.get_record", ref)
        known = self.records.setdefault(cls.lower(), {})
        self.until(
            f"{cls} {ref} is {wanted}", lambda: comparable(known.get(ref)) == comparable(wanted)
        )
        return wanted

    def until_allowed(self, cls: str, ref: str, operation: str) -> None:
        """Wait until an operation may be asked for: the menus' condition."""
        known = self.records.setdefault(cls.lower(), {})
        self.until(
            f"{cls} {ref} allows {operation}",
            lambda: operation in known.get(ref, {}).get("allowed_operations", ()),
        )

    def until_gone(self, cls: str, ref: str) -> None:
        known = self.records.setdefault(cls.lower(), {})
        self.until(f"{cls} {ref} is gone", lambda: ref not in known)

    def states(self, vm: str) -> list[str]:
        """Give the power states a VM was seen in, without repetition."""
        seen: list[str] = []
        for cls, operation, ref, snapshot in list(self.history):
            if cls == "vm" and ref == vm and operation != "del":
                state = snapshot["power_state"]
                if seen[-1:] != [state]:
                    seen.append(state)
        return seen

    def _follow(self) -> None:
        try:
            while not self._ended:
                self._take()
        except BaseException as problem:
            with self._changed:
                self.problem = problem
                self._changed.notify_all()

    def _take(self) -> None:
        answer = self._user("event.from", ["*"], self._token, 1.0)
        with self._changed:
            self._token = answer["token"]
            self.counts = answer["valid_ref_counts"]
            for event in answer["events"]:
                cls, ref, operation = event["class"], event["ref"], event["operation"]
                self.history.append((cls, operation, ref, event.get("snapshot", {})))
                known = self.records.setdefault(cls, {})
                if operation == "del":
                    known.pop(ref, None)
                else:
                    known[ref] = event["snapshot"]
            self._changed.notify_all()


def comparable(record: Record | None) -> Record | None:
    """Give a record without what moves by itself, dates in one form."""
    if record is None:
        return None
    return {k: str(v) for k, v in record.items() if k != "last_updated"}


@contextlib.contextmanager
def watching(endpoint: Endpoint, transport: str = "http") -> Iterator[Watcher]:
    with user(endpoint, transport) as second:
        watcher = Watcher(second)
        yield watcher
        watcher.end()


def destroy_vm(user: User, vm: str) -> None:
    """Remove a VM and its disks whatever its state, as the delete dialog does."""
    if user("VM.get_power_state", vm) != "Halted":
        user.task("VM.hard_shutdown", vm)
    disks = [
        record["VDI"]
        for record in (user("VBD.get_record", vbd) for vbd in user("VM.get_VBDs", vm))
        if record["type"] == "Disk" and record["VDI"] != NULL
    ]
    user("VM.destroy", vm)
    for vdi in disks:
        user("VDI.destroy", vdi)
