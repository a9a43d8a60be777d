"""Whose tasks a user may touch, and what an Async call of the forbidden does."""

from pathlib import Path

import pytest

from tests.unit.api.server import Server, directory_user

NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"
DENIAL = [
    "RBAC_PERMISSION_DENIED",
    "task.destroy/any",
    "No permission in user session. (Roles with this permission: pool-admin, pool-operator)",
]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    server = Server(tmp_path, users=[directory_user(r) for r in ("vm-admin", "pool-operator")])
    root = server.login()
    for role in ("vm-admin", "pool-operator"):
        record = {"subject_identifier": f"sid-{role}", "other_config": {}}
        subject = server.call("subject.create", root, record)
        (ref,) = server.call("role.get_by_name_label", root, role)
        server.call("subject.add_to_roles", root, subject, ref)
    return server


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("cancel", ()),
        ("destroy", ()),
        ("set_other_config", ({},)),
        ("set_status", ("success",)),
        ("set_progress", (0.5,)),
        ("set_result", ("",)),
        ("set_error_info", ([],)),
        ("remove_from_other_config", ("zz",)),
    ],
)
def test_tasks_of_others_need_a_permission(server: Server, message: str, arguments: tuple) -> None:
    task = server.call("task.create", server.login(), "t", "")
    theirs = server.login("vm-admin", "pw")
    assert server.refusal(f"task.{message}", theirs, task, *arguments) == DENIAL
    assert server.refusal(f"task.{message}", theirs, NOBODY, *arguments) == DENIAL
    server.call(f"task.{message}", server.login("pool-operator", "pw"), task, *arguments)


def test_own_tasks_are_free(server: Server) -> None:
    session = server.login("vm-admin", "pw")
    task = server.call("task.create", session, "t", "")
    server.call("task.add_to_other_config", session, task, "applies_to", "x")
    again = server.refusal("task.add_to_other_config", session, task, "applies_to", "y")
    assert again == ["MAP_DUPLICATE_KEY", "task", "other_config", task, "applies_to"]
    server.call("task.destroy", session, task)


def test_forbidden_async_call_fails_in_its_task(server: Server) -> None:
    session = server.login("vm-admin", "pw")
    task = server.call("Async.host.disable", session, server.this_host)
    server.clock.advance(0)
    assert server.db.row("task", task).error_info[:2] == ("RBAC_PERMISSION_DENIED", "host.disable")


def test_unknown_method_may_be_an_extension_nobody_may_try(server: Server) -> None:
    theirs = server.login("vm-admin", "pw")
    assert server.refusal("VM.nosuch", theirs) == [
        "RBAC_PERMISSION_DENIED",
        "host.call_extension",
        "no session in context",
    ]
    assert server.refusal("VM.nosuch", server.login()) == ["MESSAGE_METHOD_UNKNOWN", "VM.nosuch"]


def test_record_is_looked_at_before_the_permission(server: Server) -> None:
    theirs = server.login("vm-admin", "pw")
    assert server.refusal("user.create", theirs, {})[0] == "INTERNAL_ERROR"
