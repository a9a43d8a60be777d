"""XenCenter of each generation, connected once for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.contract.xencenter_session import GENERATIONS, XenCenter
from tests.integration.running_pool import RunningPool, running


@pytest.fixture(scope="session")
def newest_server() -> Iterator[RunningPool]:
    with running("--profile", "newest") as pool:
        yield pool.start()


@pytest.fixture(scope="module", params=list(GENERATIONS), ids=list(GENERATIONS))
def xencenter(request: pytest.FixtureRequest) -> XenCenter:
    generation = GENERATIONS[request.param]
    name = "shared_server" if generation.profile == "7.1" else "newest_server"
    return XenCenter(generation, request.getfixturevalue(name)).connect()
