"""Logins, logouts, roles and limits as a client sees them."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.server import PASSWORD, Refused, Server, directory_user
from xapi_py.api.call import Caller
from xapi_py.pool.role import Member
from xapi_py.session.sessions import INACTIVE_LIFETIME_S, SESSIONS_PER_NAME

ROLES = ("pool-admin", "pool-operator", "vm-power-admin", "vm-admin", "vm-operator", "read-only")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path, users=[directory_user(role) for role in ROLES])


def refusal(server: Server, *call: object) -> list[str]:
    with pytest.raises(Refused) as caught:
        server.call(*call)  # type: ignore[arg-type]
    return list(caught.value.args)


def login_as(server: Server, role: str) -> str:
    """Make a subject with the role and log in as it."""
    root = server.login()
    subject = server.call("subject.create", root, {"subject_identifier": f"sid-{role}"})
    (role_ref,) = server.call("role.get_by_name_label", root, role)
    server.call("subject.add_to_roles", root, subject, role_ref)
    return server.login(role, "pw")


def test_a_wrong_password_is_answered_late_and_holds_nobody_up(server: Server) -> None:
    waiting = server.send("session.login_with_password", "root", "wrong", "1.0", "x")
    assert isinstance(waiting, Deferred)
    assert server.login()
    server.clock.advance(4.9)
    assert not waiting.called
    server.clock.advance(0.2)
    with pytest.raises(Refused, match="SESSION_AUTHENTICATION_FAILED"):
        server.value_of(waiting)


def test_the_local_socket_needs_no_password(server: Server) -> None:
    caller = Caller(unix=True)
    session = server.call("session.login_with_password", "root", "", "1", "x", caller=caller)
    assert server.call("session.get_is_local_superuser", session, session) is True


def test_a_session_ends_with_logout(server: Server) -> None:
    session = server.login()
    server.call("session.logout", session)
    assert refusal(server, "VM.get_all", session) == ["SESSION_INVALID", session]


def test_a_session_unused_for_a_day_ends(server: Server) -> None:
    session = server.login()
    server.clock.advance(INACTIVE_LIFETIME_S + 1)
    server.toolstack.sessions.remove_inactive()
    assert refusal(server, "VM.get_all", session) == ["SESSION_INVALID", session]


def test_over_the_limit_the_session_unused_longest_ends(server: Server) -> None:
    first, second = server.login(), server.login()
    server.clock.advance(1)
    server.call("VM.get_all", first)
    for _ in range(SESSIONS_PER_NAME - 1):
        server.login()
    assert refusal(server, "VM.get_all", second) == ["SESSION_INVALID", second]
    assert server.call("pool.get_all", first)


def test_a_user_without_a_subject_may_not_log_in(server: Server) -> None:
    assert refusal(server, "session.login_with_password", "vm-admin", "pw", "1", "x")[0] == (
        "SESSION_AUTHORIZATION_FAILED"
    )


def test_a_subject_without_a_role_may_not_log_in(server: Server) -> None:
    server.call("subject.create", server.login(), {"subject_identifier": "sid-vm-admin"})
    assert refusal(server, "session.login_with_password", "vm-admin", "pw", "1", "x")[0] == (
        "RBAC_PERMISSION_DENIED"
    )


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("pool-admin", True),
        ("pool-operator", True),
        ("vm-power-admin", False),
        ("read-only", False),
    ],
)
def test_roles_decide_about_messages(server: Server, role: str, allowed: bool) -> None:
    session = login_as(server, role)
    (pool,) = server.call("pool.get_all", session)
    call = ("pool.set_name_label", session, pool, "renamed")
    if allowed:
        server.call(*call)
    else:
        code, permission, text = refusal(server, *call)
        assert (code, permission) == ("RBAC_PERMISSION_DENIED", "pool.set_name_label")
        assert "pool-operator" in text
    assert (server.call("pool.get_name_label", session, pool) == "renamed") is allowed


def test_single_map_keys_have_permissions_of_their_own(server: Server) -> None:
    session = login_as(server, "vm-operator")
    (pool,) = server.call("pool.get_all", session)
    server.call("pool.add_to_other_config", session, pool, "folder", "/a")
    server.call("pool.add_to_other_config", session, pool, "XenCenter.CustomFields.x", "1")
    assert refusal(server, "pool.add_to_other_config", session, pool, "other", "1") == [
        "RBAC_PERMISSION_DENIED",
        "pool.add_to_other_config",
        refusal(server, "pool.add_to_other_config", session, pool, "other", "1")[2],
    ]


def test_the_password_can_be_changed_by_root_only(server: Server) -> None:
    operator = login_as(server, "pool-admin")
    assert refusal(server, "session.change_password", operator, "pw", "new")[0] == (
        "RBAC_PERMISSION_DENIED"
    )
    root = server.login()
    assert refusal(server, "session.change_password", root, "wrong", "new")[0] == (
        "CHANGE_PASSWORD_REJECTED"
    )
    server.call("session.change_password", root, PASSWORD, "new")
    assert server.login("root", "new")


def test_every_call_with_effects_is_in_the_audit_log(server: Server) -> None:
    session = login_as(server, "read-only")
    refusal(server, "network.create", session, {"name_label": "n", "other_config": {}})
    lines = list(server.toolstack.audit.lines())
    assert any("'DENIED'" in line and "'network.create'" in line for line in lines)
    assert any("'OK'" in line and "'subject.create'" in line for line in lines)
    assert not any(session in line for line in lines)
    assert not any("correct horse" in line for line in lines)


def test_a_member_names_its_master_before_it_looks_at_the_password(server: Server) -> None:
    server.toolstack.role = Member("10.0.0.1")
    assert refusal(server, "session.login_with_password", "root", "wrong", "1", "x") == [
        "HOST_IS_SLAVE",
        "10.0.0.1",
    ]
    local = server.call("session.slave_local_login", "a/b/c")
    server.call("session.local_logout", local)


def test_changed_roles_reach_running_sessions_when_they_are_validated(server: Server) -> None:
    session, root = login_as(server, "read-only"), server.login()
    subject = server.call("session.get_subject", root, session)
    gone = login_as(server, "vm-operator")
    (role,) = server.call("role.get_by_name_label", root, "pool-admin")
    server.call("subject.add_to_roles", root, subject, role)
    server.call("subject.destroy", root, server.call("session.get_subject", root, gone))
    record = {"name_label": "n", "other_config": {}}
    assert refusal(server, "network.create", session, record)[0] == "RBAC_PERMISSION_DENIED"
    assert server.call("VM.get_all", gone) is not None
    assert Deferred.fromCoroutine(server.toolstack.login.revalidate()).called
    assert server.call("network.create", session, record)
    assert refusal(server, "VM.get_all", gone) == ["SESSION_INVALID", gone]
    assert server.call("VM.get_all", root) is not None
