"""A storage daemon in this process, without threads: calls end before they return."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sm import setup
from sm.config import ArrayConfig, SmConfig, StorageConfig
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.server import CallContext

NFS = {"server": "192.0.2.20", "serverpath": "/export/vms"}
ISCSI = {"target": "192.0.2.10", "port": "3260"}
OPEN_IQN = "iqn.2026-01.org.example:storage.open"
CHAP_IQN = "iqn.2026-01.org.example:storage.chap"
MIB = 1024**2
GIB = 1024**3


class StorageHost:
    """One host; several share an array by sharing ``shared``."""

    def __init__(
        self, folder: Path, *, host: str = "host-1", profile: str = "newest", **array: Any
    ) -> None:
        self.clock = Clock()
        sm = SmConfig(profile=profile, host_uuid=host)  # type: ignore[arg-type]
        config = replace(ArrayConfig(folder=str(folder / "shared")), **array)
        self.settings = StorageConfig(sm, config)
        self.state = folder / host
        self.state.mkdir(parents=True, exist_ok=True)
        self.restart()

    def restart(self) -> None:
        """Start over as a new process would."""
        build = setup.build(self.settings, self.state, self.clock, lambda work: maybeDeferred(work))
        self.methods: Mapping[str, Any] = done(Deferred.fromCoroutine(build))

    def answer(self, method: str, /, **params: object) -> Any:
        """Call a method and give its whole answer."""
        context = CallContext(method, "test", 60.0)
        return done(maybeDeferred(self.methods[method], context, **params))

    def call(self, method: str, /, **params: object) -> Any:
        """Call a method and give its result."""
        return self.answer(method, **params)["result"]

    def error(self, method: str, /, **params: object) -> tuple[object, ...]:
        """Call a method that must fail and give the error's name and parameters."""
        try:
            self.call(method, **params)
        except RpcError as problem:
            return (problem.name, *problem.params)
        raise AssertionError(f"{method} did not fail")

    def code(self, method: str, /, **params: object) -> str:
        """Call a method that must fail in the backend and give the API error code."""
        name, code, *_ = self.error(method, **params)
        assert name == "Storage_backend_error"
        return str(code)

    def make_sr(
        self, sr_type: str = "nfs", device_config: Mapping[str, str] = NFS, **kwargs: object
    ) -> str:
        """Create and attach an SR and give its uuid."""
        sr = new_uuid()
        made = self.call(
            "SR.create", sr=sr, type=sr_type, device_config=dict(device_config), **kwargs
        )
        self.call("SR.attach", sr=sr, type=sr_type, device_config=made["device_config"])
        return sr

    def make_vdi(self, sr: str, virtual_size: int = GIB, **info: object) -> dict[str, Any]:
        """Create a VDI and give its record."""
        record: dict[str, Any] = self.call(
            "VDI.create", sr=sr, vdi_info={"virtual_size": virtual_size, **info}
        )
        return record

    def vdis(self, sr: str) -> dict[str, dict[str, Any]]:
        """Records of all VDIs by uuid."""
        return {v["uuid"]: v for v in self.call("SR.scan", sr=sr)["vdis"]}


def done(deferred: "Deferred[Any]") -> Any:
    """Give the result of a Deferred that has fired."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "the call has not ended"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]
