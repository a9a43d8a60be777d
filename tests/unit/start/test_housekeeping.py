from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed

from tests.unit.api.server import Server
from xapi_py.base.rpc.errors import RpcUnreachable
from xapi_py.pool.gateway import Daemon, HostGateway
from xapi_py.start.housekeeping import MEMORY_DELAY_S, Housekeeping


class Figures:
    """A domain daemon that tells its memory, or nothing at all."""

    def __init__(self) -> None:
        self.free: int | None = 5 << 30
        self.asked = 0

    async def call(self, method: str, params: object = None, **how: object) -> object:
        self.asked += 1
        answer: Deferred[None] = succeed(None)
        await answer
        if self.free is None:
            raise RpcUnreachable("gone")
        return {"memory_free": self.free, "memory_total": 8 << 30}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def daemon(server: Server) -> Figures:
    figures = Figures()
    one = Daemon(figures)
    server.toolstack.hosts.add(HostGateway(server.this_host, one, one, one))
    Housekeeping(server.toolstack)
    return figures


def memory_free(server: Server) -> int:
    return server.db.row(
        "host_metrics", server.db.row("host", server.this_host).metrics
    ).memory_free


def test_free_memory_follows_domains(server: Server, daemon: Figures) -> None:
    for _ in range(3):
        server.make("VM_metrics")
        server.settle()
    server.clock.advance(MEMORY_DELAY_S)
    assert (memory_free(server), daemon.asked) == (5 << 30, 1)


def test_unchanged_memory_is_not_written(server: Server, daemon: Figures) -> None:
    daemon.free = memory_free(server)
    server.make("VM_metrics")
    server.settle()
    before = server.db.generation
    server.clock.advance(MEMORY_DELAY_S)
    assert server.db.generation == before


def test_daemon_that_is_away_changes_nothing(server: Server, daemon: Figures) -> None:
    before = memory_free(server)
    daemon.free = None
    server.make("VM_metrics")
    server.settle()
    server.clock.advance(MEMORY_DELAY_S)
    assert memory_free(server) == before
