"""The client library of Xen Orchestra, as it comes from npm, against a running server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parent / "xen_api_client"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(
        not (CLIENT / "node_modules" / "xen-api").exists(),
        reason="the npm package xen-api is not installed; scripts/test installs it",
    ),
]


@pytest.mark.parametrize("transport", ["http", "https"])
def test_the_client_connects_mirrors_all_objects_and_follows_changes(shared_server, transport):
    host = shared_server.host()
    url = host.http_url if transport == "http" else host.https_url
    ran = subprocess.run(
        ["node", "client.mjs", url, host.user, host.password],
        cwd=CLIENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    steps = {line["step"]: line for line in map(json.loads, ran.stdout.splitlines())}
    assert "done" in steps, ran.stdout + ran.stderr
    types = steps["fetched"]["types"]
    assert (types["pool"], types["host"]) == (1, 1)
    assert steps["added"]["same"] is True
    assert steps["changed"]["tags"] == ["é💾"]
    assert steps["removed"]["gone"] is True
    assert (steps["error"]["code"], steps["error"]["params"]) == (
        "HANDLE_INVALID",
        ["VM", "OpaqueRef:nothing"],
    )
