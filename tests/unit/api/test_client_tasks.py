"""What clients may set as they like: tasks they complete themselves, preferences."""

from pathlib import Path

import pytest

from tests.unit.api.server import Refused, Server

GONE = "OpaqueRef:00000000-0000-0000-0000-000000000002"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_cancellation_shows_in_a_task_that_its_client_completes(server: Server) -> None:
    session = server.login()
    task = server.call("task.create", session, "upload", "")
    server.call("task.cancel", session, task)
    server.call("task.cancel", session, task)
    record = server.call("task.get_record", session, task)
    assert list(record["current_operations"].values()) == ["cancel"]
    assert record["status"] == "pending"


@pytest.mark.parametrize("host", [GONE, "junk"])
def test_a_reference_field_takes_only_what_exists(server: Server, host: str) -> None:
    session = server.login()
    vm = server.call("VM.get_all_records_where", session, 'field "is_control_domain" = "true"')
    (domain,) = vm
    before = server.call("VM.get_affinity", session, domain)
    with pytest.raises(Refused) as caught:
        server.call("VM.set_affinity", session, domain, host)
    assert list(caught.value.args) == ["HANDLE_INVALID", "host", host]
    assert server.call("VM.get_affinity", session, domain) == before


def test_a_test_post_needs_a_port(server: Server) -> None:
    with pytest.raises(Refused) as caught:
        server.call("pool.send_test_post", server.login(), "127.0.0.1", "0", "x")
    assert list(caught.value.args) == ["INVALID_VALUE", "port", "0"]
