"""Calls as a client sees them: order of checks, errors, Async, unexpected failures."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.server import Refused, Server, directory_user
from xapi_py.api import registry
from xapi_py.api.call import Call, Caller
from xapi_py.api.registry import Registration

NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def session(server: Server) -> str:
    return server.login()


def refusal(server: Server, *call: object) -> list[str]:
    with pytest.raises(Refused) as caught:
        server.call(*call)  # type: ignore[arg-type]
    return list(caught.value.args)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("VM.nosuch",), ["MESSAGE_METHOD_UNKNOWN", "VM.nosuch"]),
        (("VM.nosuch", NOBODY), ["SESSION_INVALID", NOBODY]),
        (("VM.get_all",), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_all", "0", "-1"]),
        (
            ("VM.get_name_label", NOBODY),
            ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_name_label", "1", "0"],
        ),
        (("VM.get_name_label", NOBODY, NOBODY), ["SESSION_INVALID", NOBODY]),
    ],
)
def test_checks_come_in_the_real_servers_order(
    server: Server, call: tuple[str, ...], expected: list[str]
) -> None:
    assert refusal(server, *call) == expected


def test_surplus_parameters_pass_where_some_are_optional(server: Server) -> None:
    assert server.call("session.login_with_password", "root", "correct horse", "1", "x", "y", "z")


def test_an_unknown_object_is_named_with_its_class(server: Server, session: str) -> None:
    assert refusal(server, "VM.get_name_label", session, NOBODY) == ["HANDLE_INVALID", "VM", NOBODY]


def test_underscore_names_are_aliases(server: Server, session: str) -> None:
    assert server.call("pool_get_all", session) == server.call("pool.get_all", session)
    task = server.call("Async.pool_sync_database", session)
    assert server.call("task.get_name_label", session, task) == "Async.pool.sync_database"


def test_a_missing_member_is_found_before_a_task_is_made(server: Server, session: str) -> None:
    assert refusal(server, "Async.network.create", session, {})[0] == "INTERNAL_ERROR"
    assert server.call("task.get_all", session) == []


def test_what_has_no_async_form_says_so(server: Server, session: str) -> None:
    assert refusal(server, "Async.VM.get_all", session) == [
        "Fault",
        "No async mode for this operation (rpc: VM.get_all)",
    ]


def test_async_answers_a_task_that_ends_with_the_result(server: Server, session: str) -> None:
    task = server.call("Async.network.create", session, {"name_label": "a", "other_config": {}})
    record = server.call("task.get_record", session, task)
    (network,) = server.call("network.get_by_name_label", session, "a")
    assert (record["status"], record["result"]) == ("success", f"<value>{network}</value>")
    assert (record["name_label"], record["progress"]) == ("Async.network.create", 1.0)


def test_an_async_failure_is_in_the_task(server: Server, session: str) -> None:
    task = server.call("Async.network.destroy", session, NOBODY)
    record = server.call("task.get_record", session, task)
    assert (record["status"], record["error_info"]) == (
        "failure",
        ["HANDLE_INVALID", "network", NOBODY],
    )


def test_an_unexpected_failure_becomes_internal_error_with_an_id_of_the_log(
    server: Server, session: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(call: Call) -> None:
        raise KeyError("surprise")

    monkeypatch.setitem(registry.HANDLERS, "event.get_current_id", Registration(broken, None))
    with caplog.at_level(logging.ERROR):
        code, text = refusal(server, "event.get_current_id", session)
    assert code == "INTERNAL_ERROR"
    assert "Traceback" not in text
    log_id = text.rsplit("log ", 1)[1].rstrip("]")
    assert log_id in caplog.text


def test_a_failed_create_changes_nothing(server: Server, session: str) -> None:
    before = server.db.generation
    record = {"VM": NOBODY, "network": NOBODY, "device": "0", "MAC": "", "MTU": "1500"}
    assert refusal(server, "VIF.create", session, record)[0] in ("HANDLE_INVALID", "INTERNAL_ERROR")
    server.settle()
    assert server.db.count("VIF") == 0
    assert server.db.generation - before <= 2  # at most a task that came and went


def test_maps_refuse_a_key_twice_and_ignore_removing_none(server: Server, session: str) -> None:
    (pool,) = server.call("pool.get_all", session)
    server.call("pool.add_to_gui_config", session, pool, "k", "v")
    assert refusal(server, "pool.add_to_gui_config", session, pool, "k", "w") == [
        "MAP_DUPLICATE_KEY",
        "pool",
        "gui_config",
        pool,
        "k",
    ]
    server.call("pool.remove_from_gui_config", session, pool, "absent")
    assert server.call("pool.get_gui_config", session, pool) == {"k": "v"}


def test_queries_use_fields_of_the_database(server: Server, session: str) -> None:
    where = 'field "name__label" = "pool-admin"'
    assert len(server.call("role.get_all_records_where", session, where)) == 1
    assert refusal(server, "role.get_all_records_where", session, "field (")[0] == "INVALID_VALUE"


def test_unknown_members_and_dynamic_ones_are_ignored_by_create(
    server: Server, session: str
) -> None:
    record = {"name_label": "n", "other_config": {}, "uuid": "chosen", "colour": "blue"}
    network = server.call("network.create", session, record)
    assert server.call("network.get_uuid", session, network) != "chosen"


def test_event_from_waits_without_holding_others_up(server: Server, session: str) -> None:
    token = server.call("event.from", session, ["network"], "", 0.0)["token"]
    waiting = server.send("event.from", session, ["network"], token, 30.0)
    assert isinstance(waiting, Deferred)
    assert not waiting.called
    network = server.call("network.create", session, {"name_label": "n", "other_config": {}})
    (event,) = server.value_of(waiting)["events"]
    assert (event["operation"], event["ref"], event["snapshot"]["name_label"]) == (
        "add",
        network,
        "n",
    )


def test_a_client_that_leaves_no_longer_waits_for_events(server: Server, session: str) -> None:
    left: list[Callable[[], None]] = []
    caller = Caller(on_disconnect=left.append)
    token = server.call("event.from", session, ["network"], "", 0.0)["token"]
    server.send("event.from", session, ["network"], token, 30.0, caller=caller)
    (live,) = server.toolstack.sessions.all()
    assert len(live.blocked) == 1
    left[0]()
    assert not live.blocked


@pytest.mark.parametrize(
    ("method", "arguments", "hidden"),
    [
        ("session.change_password", ("correct horse", "battery staple"), "battery staple"),
        ("secret.set_value", ("{secret}", "open sesame"), "open sesame"),
        ("pool.join", ("192.0.2.1", "root", "open sesame"), "open sesame"),
        ("host.install_server_certificate", ("{host}", "c", "KEY-TEXT", "x"), "KEY-TEXT"),
    ],
)
def test_no_password_reaches_the_audit_log(
    server: Server, session: str, method: str, arguments: tuple[str, ...], hidden: str
) -> None:
    known = {"{secret}": server.make("secret", value="v"), "{host}": server.this_host}
    given = [known.get(argument, argument) for argument in arguments]
    server.send(method, session, *given)
    server.clock.advance(0)
    text = "".join(server.toolstack.audit.lines())
    assert method in text
    assert hidden not in text and "correct horse" not in text
    assert all(argument in text for argument in given if argument in known.values())


def test_pool_secret_is_for_the_superuser_only(tmp_path: Path) -> None:
    server = Server(tmp_path, users=[directory_user("pool-operator")])
    root = server.login()
    subject = server.call("subject.create", root, {"subject_identifier": "sid-pool-operator"})
    (role,) = server.call("role.get_by_name_label", root, "pool-operator")
    server.call("subject.add_to_roles", root, subject, role)
    assert server.call("pool.initial_auth", root) == "a/b/c"
    theirs = server.login("pool-operator", "pw")
    assert server.refusal("pool.initial_auth", theirs)[0] == "RBAC_PERMISSION_DENIED"
