"""The process that loads guests: one request a line on standard input, one answer a line.

It reads what guests have made and calls libraries that cannot be interrupted,
so it is apart from the daemon: it may crash, and is killed to cancel its work.
Imports no reactor: it has to be there quickly.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from xenops.backends.xen.stream import work
from xenops.bindings.builder import Builder, image_from
from xenops.bindings.errors import BindingError, XenError
from xenops.bindings.memory_stream import MemoryStream
from xenops.bindings.xen import Xen

Say = Callable[[Mapping[str, Any]], Any]
Function = Callable[[Xen, Mapping[str, Any], Say], Mapping[str, Any]]


def build(xen: Xen, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Load a guest into a domain."""
    loaded = Builder(xen).build(request["domid"], image_from(request["image"]))
    return {"store_mfn": loaded.store_mfn, "console_mfn": loaded.console_mfn}


def save(xen: Xen, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Write a stopped domain's memory to an image."""
    return work.save(MemoryStream(xen), request, say)


def restore(xen: Xen, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Read a domain's memory from an image."""
    return work.restore(MemoryStream(xen), request, say)


def send(xen: Xen, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Give a running domain to another host."""
    return work.send(MemoryStream(xen), request, say)


def receive(xen: Xen, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Take a domain over from another host."""
    return work.receive(MemoryStream(xen), request, say)


FUNCTIONS: dict[str, Function] = {
    "build": build,
    "save": save,
    "restore": restore,
    "send": send,
    "receive": receive,
}


def answer(xen: Xen, line: str, say: Say) -> dict[str, Any]:
    """Carry out one request; what fails is an answer too."""
    request = json.loads(line)
    try:
        return {"result": FUNCTIONS[request["function"]](xen, request, say)}
    except XenError as error:
        return {"error": str(error), "number": error.number}
    except OSError as error:
        return {"error": str(error), "number": error.errno or 0}


def main() -> None:
    """Answer requests until standard input ends."""
    # Libraries write to standard output as they like: ours is kept apart.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def put(message: Mapping[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    def say(message: Mapping[str, Any]) -> Any:
        put({"says": message})
        return json.loads(sys.stdin.readline() or "null")

    try:
        xen = Xen.open()
    except BindingError as error:
        put({"error": str(error), "number": 0})
        sys.exit(1)
    put({"ready": os.getpid()})
    for line in sys.stdin:
        put(answer(xen, line, say))


if __name__ == "__main__":
    main()
