"""The role of a host: its file, and whom it sends clients to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xapi_py.pool.role import (
    Broken,
    Master,
    Member,
    RoleFileError,
    parse,
    read,
    refusal,
    render,
    write,
)


@given(
    st.one_of(st.just(Master()), st.just(Broken()), st.builds(Member, st.ip_addresses().map(str)))
)
def test_roles_survive_their_file_form(role: object) -> None:
    assert parse(render(role)) == role  # type: ignore[arg-type]


def test_addresses_of_version_six_may_be_bracketed() -> None:
    assert parse("slave:[fe80::1]\n") == Member("fe80::1")


@pytest.mark.parametrize("text", ["", "slave", "slave:", "owner", "master:10.0.0.1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RoleFileError):
        parse(text)


def test_a_fresh_host_is_its_own_master(tmp_path: Path) -> None:
    assert read(tmp_path / "pool.conf") == Master()


def test_a_written_role_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "pool.conf", Member("10.0.0.1"))
    assert read(tmp_path / "pool.conf") == Member("10.0.0.1")


def test_a_member_sends_clients_to_its_master_but_answers_emergency_calls() -> None:
    role = Member("10.0.0.1")
    problem = refusal(role, "session.login_with_password")
    assert problem is not None
    assert problem.description == ["HOST_IS_SLAVE", "10.0.0.1"]
    assert refusal(role, "session.slave_local_login") is None
    assert refusal(Master(), "session.login_with_password") is None
