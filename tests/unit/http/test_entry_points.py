"""HTTP entry points: who is let in, and whose tasks they may complete."""

from pathlib import Path

import pytest

from tests.unit.api.server import Server, directory_user
from tests.unit.http.served import Served
from xapi_py.api.toolstack import Settings
from xapi_py.http.entry_points import add_entry_points
from xapi_py.http.serve import load_transfers

ROLES = ("pool-operator", "vm-admin")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    server = Server(tmp_path, users=[directory_user(role) for role in ROLES])
    root = server.login()
    for role in ROLES:
        subject = server.call("subject.create", root, {"subject_identifier": f"sid-{role}"})
        (ref,) = server.call("role.get_by_name_label", root, role)
        server.call("subject.add_to_roles", root, subject, ref)
    return server


def status(server: Server, path: str, **query: str) -> int:
    """Give the status of a GET, and 0 when it is not answered at once."""
    load_transfers()
    served = Served(routes=lambda routes: add_entry_points(routes, server.toolstack))
    words = "&".join(f"{name}={value}" for name, value in query.items())
    served.send(f"GET {path}?{words} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    server.settle()
    answers = served.answers()
    return answers[0].status if answers else 0


def test_a_task_of_another_user_is_not_touched(server: Server) -> None:
    theirs = server.login("vm-admin", "pw")
    task = server.call("task.create", server.login(), "t", "")
    assert status(server, "/import", session_id=theirs, task_id=task) == 403
    assert server.db.row("task", task).status == "pending"


def test_own_tasks_are_completed(server: Server) -> None:
    theirs = server.login("vm-admin", "pw")
    task = server.call("task.create", theirs, "t", "")
    assert status(server, "/export", session_id=theirs, task_id=task) != 403
    assert server.db.row("task", task).status == "failure"  # no VM was named


def test_no_secret_is_no_way_in(server: Server) -> None:
    assert status(server, "/export", pool_secret="a/b/c") != 401
    assert status(server, "/export", pool_secret="") == 401
    server.toolstack.settings = Settings("127.0.0.1", Path("/nowhere"), "newest", pool_secret="")
    assert status(server, "/export", pool_secret="") == 401
