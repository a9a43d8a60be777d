"""What clients are told while a daemon is away."""

from pathlib import Path

from tests.unit.api.server import Server
from xapi_py.api.network_errors import bridge_error
from xapi_py.api.storage_errors import storage_error
from xapi_py.base.names import NULL_REF
from xapi_py.base.rpc.errors import RpcTimeout, RpcUnreachable


def test_a_storage_daemon_that_is_away_is_a_backend_that_fails(tmp_path: Path) -> None:
    db = Server(tmp_path).db
    for problem in (RpcUnreachable("no socket"), RpcTimeout("VDI.create")):
        error = storage_error(problem, db, NULL_REF, NULL_REF)
        assert error.code == "SR_BACKEND_FAILURE"
        assert str(problem) in error.params[1]


def test_a_network_daemon_that_is_away_says_to_wait() -> None:
    assert bridge_error(RpcUnreachable("no socket"), "xenbr0").code == "HOST_STILL_BOOTING"
