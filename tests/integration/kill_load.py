"""Clients under load while daemons are killed, and what must be true whatever happened.

Each actor repeats one kind of work and remembers what the server acknowledged.
A call that ended without an answer may have happened or not; everything else
is certain.
"""

import http.client
import itertools
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import XenAPI

from tests.integration.running_pool import JsonClient, RunningPool

Record = dict[str, Any]
GIB = 1 << 30
NULL = "OpaqueRef:NULL"


class NoAnswer(Exception):
    """The connection broke: nobody knows whether the call happened."""


class Client:
    """Calls over a kept connection, logging in again when the server has forgotten us."""

    def __init__(self, pool: RunningPool) -> None:
        self._pool = pool
        self._client: JsonClient | None = None

    def __call__(self, method: str, *params: object) -> Any:
        """Call.  Raises NoAnswer, or XenAPI.Failure with the server's error."""
        while True:
            try:
                if self._client is None:
                    self._client = self._pool.host().json().login()
                return self._client.call(method, *params)
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as problem:
                self._client = None
                raise NoAnswer(method) from problem
            except XenAPI.Failure as failure:
                if failure.details[0] != "SESSION_INVALID":
                    raise
                self._client = None  # refused before anything happened


class Actor:
    """Repeats ``step``; ``check`` says what is wrong while nothing goes on."""

    def __init__(self, name: str, client: Client, seed: int) -> None:
        self.name = name
        self.call = client
        self.chance = random.Random(seed)
        self.number = itertools.count(1)
        self.acknowledged = 0
        self.refused: dict[str, int] = {}

    def step(self) -> None:
        raise NotImplementedError

    def check(self, call: Client) -> list[str]:
        raise NotImplementedError

    def attempt(self, method: str, *params: object) -> tuple[str, Any]:
        """Call and tell ``done``, ``refused`` or ``unknown``, with the value."""
        try:
            value = self.call(method, *params)
        except NoAnswer:
            return "unknown", None
        except XenAPI.Failure as failure:
            self.refused[failure.details[0]] = self.refused.get(failure.details[0], 0) + 1
            return "refused", None
        self.acknowledged += 1
        return "done", value


class FieldWriter(Actor):
    """Writes ever higher numbers into one field."""

    def __init__(self, name: str, client: Client, seed: int) -> None:
        super().__init__(name, client, seed)
        self.network = client("network.create", network_record(name))
        self.least = 0

    def step(self) -> None:
        number = next(self.number)
        outcome, _ = self.attempt("network.set_name_description", self.network, str(number))
        if outcome == "done":
            self.least = number

    def check(self, call: Client) -> list[str]:
        found = int(call("network.get_name_description", self.network) or 0)
        return [] if found >= self.least else [f"{self.name}: {found} after {self.least}"]


class ObjectMaker(Actor):
    """Makes and destroys one kind of object."""

    def __init__(self, name: str, client: Client, seed: int, cls: str) -> None:
        super().__init__(name, client, seed)
        self.cls = cls
        self.there: list[str] = []
        self.gone: list[str] = []
        self.doubtful: list[str] = []

    def make(self, label: str) -> tuple[str, Any]:
        return self.attempt("network.create", network_record(label))

    def destroy(self, ref: str) -> str:
        return self.attempt(f"{self.cls}.destroy", ref)[0]

    def step(self) -> None:
        if len(self.there) > 4 or (self.there and self.chance.random() < 0.4):
            ref = self.there.pop(0)
            outcome = self.destroy(ref)
            kept = {"done": self.gone, "refused": self.there, "unknown": self.doubtful}
            kept[outcome].append(ref)
        else:
            outcome, ref = self.make(f"{self.name} {next(self.number)}")
            if outcome == "done":
                self.there.append(ref)

    def check(self, call: Client) -> list[str]:
        refs = set(call(f"{self.cls}.get_all"))
        lost = [f"{self.name}: {ref} is lost" for ref in self.there if ref not in refs]
        back = [f"{self.name}: {ref} is back" for ref in self.gone if ref in refs]
        return lost + back


class Disks(ObjectMaker):
    """Makes, grows and destroys disks."""

    def __init__(self, name: str, client: Client, seed: int, sr: str) -> None:
        super().__init__(name, client, seed, "VDI")
        self.sr = sr

    def make(self, label: str) -> tuple[str, Any]:
        return self.attempt("VDI.create", disk_record(label, self.sr))


class Copies(ObjectMaker):
    """Clones and snapshots a VM with a disk, and destroys what it made."""

    def __init__(self, name: str, client: Client, seed: int, source: str) -> None:
        super().__init__(name, client, seed, "VM")
        self.source = source

    def make(self, label: str) -> tuple[str, Any]:
        if self.chance.random() < 0.5:
            return self.attempt("VM.clone", self.source, label)
        return self.attempt("VM.snapshot", self.source, label)

    def check(self, call: Client) -> list[str]:
        wrong = super().check(call)
        vms = call("VM.get_all_records")
        vbds, vdis = call("VBD.get_all_records"), call("VDI.get_all_records")
        wanted = len(vms[self.source]["VBDs"])
        for ref, vm in vms.items():
            if not vm["name_label"].startswith(f"{self.name} "):
                continue
            held = [vbds.get(vbd) for vbd in vm["VBDs"]]
            disks = [vbd and vbd["VDI"] for vbd in held if vbd and vbd["type"] == "Disk"]
            if len(held) != wanted or not all(vdi in vdis for vdi in disks):
                wrong.append(f"{vm['name_label']} {ref} is there in part: {held}")
        return wrong


class Cycle(Actor):
    """Starts and stops one VM."""

    def __init__(self, name: str, client: Client, seed: int, vm: str) -> None:
        super().__init__(name, client, seed)
        self.vm = vm
        self.known: str | None = "Halted"

    def step(self) -> None:
        state = self.known
        if state is None:
            _, state = self.attempt("VM.get_power_state", self.vm)
        if state == "Running":
            outcome, _ = self.attempt("VM.hard_shutdown", self.vm)
            self.known = "Halted" if outcome == "done" else None
        elif state == "Halted":
            outcome, _ = self.attempt("VM.start", self.vm, False, False)
            self.known = "Running" if outcome == "done" else None
        else:
            time.sleep(0.05)

    def check(self, call: Client) -> list[str]:
        found = call("VM.get_power_state", self.vm)
        if self.known is not None and found != self.known:
            return [f"{self.name}: {found}, acknowledged was {self.known}"]
        return [] if found in ("Running", "Halted") else [f"{self.name} is {found}"]


class Load:
    """The actors' threads; ``pause`` returns when none of them is in a call."""

    def __init__(self, actors: list[Actor]) -> None:
        self.actors = actors
        self._go = threading.Event()
        self._ended = False
        self._busy = threading.Semaphore(len(actors))
        self.problems: list[BaseException] = []
        self._threads = [threading.Thread(target=self._act, args=(a,)) for a in actors]
        for thread in self._threads:
            thread.start()

    def _act(self, actor: Actor) -> None:
        try:
            while not self._ended:
                self._go.wait()
                with self._busy:
                    if self._go.is_set() and not self._ended:
                        actor.step()
        except BaseException as problem:
            self.problems.append(problem)
            raise

    def go(self) -> None:
        self._go.set()

    def pause(self) -> None:
        self._go.clear()
        for _ in self.actors:
            self._busy.acquire()
        for _ in self.actors:
            self._busy.release()
        if self.problems:
            raise self.problems[0]

    def end(self) -> None:
        self._ended = True
        self._go.set()
        for thread in self._threads:
            thread.join()


def network_record(label: str) -> Record:
    return {
        "name_label": label,
        "name_description": "",
        "MTU": 1500,
        "other_config": {},
        "tags": [],
    }


def disk_record(label: str, sr: str) -> Record:
    return {
        "name_label": label,
        "name_description": "",
        "SR": sr,
        "virtual_size": GIB,
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        "xenstore_data": {},
        "sm_config": {},
        "tags": [],
    }


def make_vm(call: Client, label: str) -> str:
    """Make a halted VM with one disk from a built-in template."""
    (template,) = call("VM.get_by_name_label", "Windows 8 (32-bit)")
    vm = call("VM.clone", template, label)
    call("VM.provision", vm)
    return str(vm)


def daemon_call(path: Path, method: str, params: Record) -> Any:
    """Ask a daemon over its own socket."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, "dbg": "test"}
    data = json.dumps(body).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(struct.pack(">I", len(data)) + data)
        with connection.makefile("rb") as stream:
            (length,) = struct.unpack(">I", stream.read(4))
            answer = json.loads(stream.read(length))
    assert "error" not in answer, answer
    result = answer["result"]
    return result["result"] if isinstance(result, dict) and "result" in result else result


CLASSES_WITH_OPERATIONS = ("VM", "VDI", "VBD", "VIF", "SR", "host", "pool", "network")


def operations_left(call: Client) -> list[str]:
    """List objects that still show an operation."""
    return [
        f"{cls} {record.get('name_label', ref)}: {record['current_operations']}"
        for cls in CLASSES_WITH_OPERATIONS
        for ref, record in call(f"{cls}.get_all_records").items()
        if record["current_operations"]
    ]


def disks_that_differ(call: Client, storage: Path) -> list[str]:
    """Compare the disks of repositories with what the storage daemon has."""
    wrong = []
    vdis = call("VDI.get_all_records")
    for ref, sr in call("SR.get_all_records").items():
        if sr["content_type"] == "iso" or not sr["PBDs"] or sr["type"] in ("udev", "iso"):
            continue
        told = {vdi["uuid"] for vdi in vdis.values() if vdi["SR"] == ref}
        there = daemon_call(storage, "SR.scan", {"sr": sr["uuid"]})["vdis"] or []
        has = {vdi["uuid"] for vdi in there}
        wrong += [f"{sr['name_label']}: no record of disk {u}" for u in has - told]
        wrong += [f"{sr['name_label']}: record of no disk {u}" for u in told - has]
    return wrong


def settled(problems: Callable[[], list[str]], limit_s: float = 30.0) -> list[str]:
    """Give what is still wrong after so long; at once when nothing is."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = problems()
        except (NoAnswer, XenAPI.Failure, OSError, AssertionError) as problem:
            found = [repr(problem)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
