"""A download completes the task of its request, and lets go of what it reads from."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.server import Server
from xapi_py.base.names import Ref
from xapi_py.http.entry_points import completing
from xapi_py.http.messages import StreamingResponse


class Body:
    """Two pieces, and whether it was closed."""

    def __init__(self) -> None:
        self.left = [b"a", b"b"]
        self.closed = False

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("taken", "status"), [(0, "failure"), (1, "failure"), (3, "success")])
def test_a_download_ends_its_task_and_its_source(tmp_path: Path, taken: int, status: str) -> None:
    server = Server(tmp_path)
    session = server.login()
    task = Ref(server.call("task.create", session, "download", ""))
    source = Body()
    answer = completing(server.toolstack, task, StreamingResponse(source))

    async def take() -> None:
        assert isinstance(answer, StreamingResponse)
        pieces = answer.body.__aiter__()
        for _ in range(taken):
            try:
                await pieces.__anext__()
            except StopAsyncIteration:
                break
        await answer.body.aclose()  # type: ignore[attr-defined]

    Deferred.fromCoroutine(take())
    assert source.closed
    assert server.call("task.get_status", session, task) == status
