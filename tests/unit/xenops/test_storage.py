"""Data paths of disks through the storage daemon."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.unit.xenops.factories import begun, done, outcome
from xapi_py.base.rpc.client import RpcClient
from xapi_py.base.rpc.errors import RpcError, RpcUnreachable
from xenops.metadata import Disk
from xenops.storage import StorageDaemon

DISK = Disk(sr="sr", vdi="vdi")
XEN_DISK = ["XenDisk", {"params": "/dev/sm/x", "extra": {}, "backend_type": "vbd3"}]
FILE = ["BlockDevice", {"path": "/run/vdi.raw"}]


class Answers(RpcClient):
    """A storage daemon that answers from a list; exceptions are raised."""

    def __init__(self, *answers: Any) -> None:
        self.calls: list[tuple[str, dict[str, object]]] = []
        self._answers = list(answers)

    async def call(
        self,
        method: str,
        params: dict[str, object] | None = None,
        *,
        dbg: str = "",
        deadline_s: float = 60.0,
    ) -> object:
        self.calls.append((method, params or {}))
        answer = self._answers.pop(0) if self._answers else {"result": None}
        if isinstance(answer, Exception):
            raise answer
        return answer


def attached(*implementations: object) -> dict[str, object]:
    return {"result": {"implementations": list(implementations)}, "cursor": 1}


def test_attach_activates_and_prefers_a_block_device() -> None:
    daemon = Answers(attached(XEN_DISK, FILE))
    work = StorageDaemon(Clock(), daemon).attach("t", "vbd/1/xvda", "vm", DISK, writable=True)
    assert done(work) == "/run/vdi.raw"
    where = {"dp": "vbd/1/xvda", "sr": "sr", "vdi": "vdi", "vm": "vm"}
    assert daemon.calls == [
        ("VDI.attach2", where | {"read_write": True}),
        ("VDI.activate3", where),
    ]


def test_a_failed_activation_detaches() -> None:
    daemon = Answers(attached(XEN_DISK), RpcError("Storage_backend_error", "SR_BACKEND_FAILURE_1"))
    with pytest.raises(RpcError, match="Storage_backend_error"):
        done(StorageDaemon(Clock(), daemon).attach("t", "dp", "vm", DISK, writable=True))
    assert daemon.calls[-1] == ("DP.destroy", {"dp": "dp", "allow_leak": True})


def test_a_restart_of_the_storage_daemon_goes_unnoticed() -> None:
    clock, daemon = Clock(), Answers(RpcUnreachable("gone"), attached(XEN_DISK))
    running = begun(StorageDaemon(clock, daemon).attach("t", "dp", "vm", DISK, writable=False))
    clock.advance(1)
    assert outcome(running) == "/dev/sm/x"


def test_detaching_never_fails() -> None:
    daemon = Answers(RpcError("Storage_backend_error", "SR_BACKEND_FAILURE_1"))
    done(StorageDaemon(Clock(), daemon).detach("t", "dp", DISK))


def test_a_local_path_needs_no_storage_daemon(tmp_path: Path) -> None:
    storage, disk = StorageDaemon(Clock(), Answers(RpcError("No"))), Disk(path=str(tmp_path))
    assert done(storage.attach("t", "dp", "vm", disk, writable=True)) == str(tmp_path)
