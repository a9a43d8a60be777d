from pathlib import Path

import pytest

from tests.unit.api.server import Server, directory_user

CREDENTIALS = {"user": "pool-admin", "pass": "pw"}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    server = Server(tmp_path, users=[directory_user("pool-admin")])
    server.put("host", server.this_host, external_auth_type="", external_auth_service_name="")
    return server


@pytest.fixture
def session(server: Server) -> str:
    return server.login()


def join(server: Server, session: str, config: dict[str, str] = CREDENTIALS) -> list[str]:
    arguments = (session, server.this_pool, config, "example.com", "AD")
    if config is CREDENTIALS:
        server.call("pool.enable_external_auth", *arguments)
        return []
    return server.refusal("pool.enable_external_auth", *arguments)


def test_joined_host_says_where_and_keeps_no_password(server: Server, session: str) -> None:
    join(server, session)
    row = server.db.row("host", server.this_host)
    assert (row.external_auth_type, row.external_auth_service_name) == ("AD", "example.com")
    assert row.external_auth_configuration == {"domain": "example.com"}


def test_directory_is_asked_only_once_joined(server: Server, session: str) -> None:
    question = ("auth.get_subject_identifier", session, "pool-admin")
    assert server.refusal(*question) == ["AUTH_IS_DISABLED"]
    record = {"subject_identifier": "S-1", "other_config": {}}
    assert server.refusal("subject.create", session, record) == ["AUTH_IS_DISABLED"]
    join(server, session)
    assert server.call(*question) == "sid-pool-admin"
    assert server.call("subject.create", session, record)


def test_second_join_is_refused(server: Server, session: str) -> None:
    join(server, session)
    arguments = (session, server.this_pool, CREDENTIALS, "example.com", "AD")
    refused = server.refusal("pool.enable_external_auth", *arguments)
    assert refused == ["POOL_AUTH_ALREADY_ENABLED", server.this_host]
    refused = server.refusal(
        "host.enable_external_auth", session, server.this_host, CREDENTIALS, "example.com", "AD"
    )
    assert refused == ["AUTH_ALREADY_ENABLED", "AD", "example.com"]


def test_wrong_password_names_the_host_and_joins_none(server: Server, session: str) -> None:
    refused = join(server, session, {"user": "pool-admin", "pass": "no"})
    assert refused[:2] == ["POOL_AUTH_ENABLE_FAILED_WRONG_CREDENTIALS", server.this_host]
    assert server.db.row("host", server.this_host).external_auth_type == ""


@pytest.mark.parametrize("kind", ["bogus", ""])
def test_unknown_kind_of_directory_is_refused(server: Server, session: str, kind: str) -> None:
    arguments = (session, server.this_pool, {}, "svc", kind)
    assert server.refusal("pool.enable_external_auth", *arguments) == ["AUTH_UNKNOWN_TYPE", kind]


def test_leaving_logs_directory_users_out(server: Server, session: str) -> None:
    join(server, session)
    record = {"subject_identifier": "sid-pool-admin", "other_config": {}}
    subject = server.call("subject.create", session, record)
    (role,) = server.call("role.get_by_name_label", session, "pool-admin")
    server.call("subject.add_to_roles", session, subject, role)
    theirs = server.login("pool-admin", "pw")
    server.call("pool.disable_external_auth", session, server.this_pool, {})
    assert server.refusal("pool.get_all", theirs) == ["SESSION_INVALID", theirs]
    assert server.call("pool.get_all", session) == [server.this_pool]


def test_leaving_what_was_not_joined_is_no_error(server: Server, session: str) -> None:
    server.call("host.disable_external_auth", session, server.this_host, {})
