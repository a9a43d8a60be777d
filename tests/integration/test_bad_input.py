"""What bad input gets: an answer of the interface, nothing changed, others unharmed."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import XenAPI
import yaml

from tests.contract.xencenter_client import Answer, Client, Connection, JsonRpc, XmlRpc
from tests.integration.journey import Record, User, user
from tests.integration.running_pool import RunningPool, running
from xapi_py.datamodel.profiles import load_model

pytestmark = pytest.mark.integration

ROLES = ("pool-operator", "vm-power-admin", "vm-admin", "vm-operator", "read-only")
NOTHING = "OpaqueRef:00000000-0000-0000-0000-00000000dead"
LIMIT_BYTES = 307200
MOVES_BY_ITSELF = {"task", "host_metrics", "vm_metrics", "pif_metrics", "message"}
MODEL = load_model("7.1")


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Iterator[RunningPool]:
    """A pool with a user for each role."""
    described: Path = tmp_path_factory.mktemp("simulator") / "users.yaml"
    users = [{"name": f"a-{role}", "sid": f"S-1-5-{role}", "password": "pw"} for role in ROLES]
    described.write_text(yaml.safe_dump({"xapi": {"directory": {"users": users}}}))
    with running("--simulator", str(described)) as started:
        started.start()
        with user(started.host()) as root:
            login = {"user": "a-read-only", "pass": "pw"}
            root("pool.enable_external_auth", root.pool(), login, "example.com", "AD")
            for role in ROLES:
                record = {"subject_identifier": f"S-1-5-{role}", "other_config": {}}
                subject = root("subject.create", record)
                root("subject.add_to_roles", subject, root.one("role", role))
        yield started


@pytest.fixture
def root(pool: RunningPool) -> Iterator[User]:
    with user(pool.host()) as session:
        yield session


@pytest.fixture(params=["http", "json-2.0"])
def me(request, pool: RunningPool) -> Iterator[User]:
    with user(pool.host(), request.param) as session:
        yield session


@pytest.fixture
def nothing_changes(root: User) -> Iterator[None]:
    """No event of any object while the test runs."""
    before = root("event.from", ["*"], "", 0.0)["token"]
    yield
    events = root("event.from", ["*"], before, 0.0)["events"]
    assert [e for e in events if e["class"] not in MOVES_BY_ITSELF] == []


@pytest.fixture
def others_are_served(pool: RunningPool) -> Iterator[None]:
    """Another client is answered quickly all the time while the test runs."""
    slowest, ended = 0.0, False

    def watch() -> None:
        nonlocal slowest
        with user(pool.host()) as other:
            while not ended:
                began = time.monotonic()
                other("pool.get_all")
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.01)

    with ThreadPoolExecutor(1) as executor:
        watching = executor.submit(watch)
        yield
        ended = True
        watching.result(20)
    assert slowest < 1.0


def refusal(call, *arguments: object) -> list[str]:
    """Give code and parameters of the failure a call must end with."""
    with pytest.raises(XenAPI.Failure) as refused:
        call(*arguments)
    details: list[str] = refused.value.details
    assert all(isinstance(part, str) for part in details)
    assert not any("Traceback" in part or 'File "' in part for part in details)
    return details


def connect(pool: RunningPool) -> Connection:
    host = pool.host()
    return Connection(host.address, host.http, timeout_s=30)


def post(pool: RunningPool, path: str, body: bytes) -> Answer:
    connection = connect(pool)
    answer = connection.post(path, {"Content-Type": "text/xml"}, body)
    connection.close()
    return answer


def network(me: User, name: str = "N") -> Record:
    return {
        "name_label": name,
        "name_description": "",
        "MTU": me.int(1500),
        "other_config": {},
        "tags": [],
    }


# Handles, classes, methods


def test_unknown_handles_name_class_and_reference(me: User, nothing_changes: None):
    for name, cls in MODEL.classes.items():
        message = MODEL.messages.get(f"{name}.get_record")
        if message is not None and cls.in_db and not message.removed:
            assert refusal(me, f"{name}.get_record", NOTHING) == ["HANDLE_INVALID", name, NOTHING]


def test_unknown_handles_in_setters_and_operations(me: User, nothing_changes: None):
    for method, *more in (
        ("VM.set_name_label", "x"),
        ("VM.start", False, False),
        ("VM.destroy",),
        ("VM.clone", "x"),
        ("VM.add_to_other_config", "k", "v"),
        ("VBD.plug",),
        ("VDI.destroy",),
        ("SR.scan",),
        ("network.destroy",),
        ("host.disable",),
        ("task.cancel",),
    ):
        cls = method.partition(".")[0]
        assert refusal(me, method, NOTHING, *more) == ["HANDLE_INVALID", cls, NOTHING], method


def test_a_reference_of_another_class_is_no_handle(me: User, nothing_changes: None):
    host = me.host()
    assert refusal(me, "VM.get_record", host) == ["HANDLE_INVALID", "VM", host]


def test_unknown_uuids_name_class_and_uuid(me: User, nothing_changes: None):
    for cls in ("VM", "host", "SR", "VDI", "network", "role"):
        assert refusal(me, f"{cls}.get_by_uuid", "none") == ["UUID_INVALID", cls, "none"]


@pytest.mark.parametrize(
    "method", ["Nothing.get_all", "VM.nothing", "VM", "VM.", ".get_all", "Vm.get_all", "VM.start.x"]
)
def test_unknown_classes_and_methods(me: User, nothing_changes: None, method: str, pool):
    client = Client(connect(pool), XmlRpc() if me.is_xml else JsonRpc("1.0"))
    host = pool.host()
    session = client.call("session.login_with_password", host.user, host.password, "2.6", "x")
    with pytest.raises(Exception) as refused:
        client.call(method, session)
    assert refused.value.args == ("MESSAGE_METHOD_UNKNOWN", method)


@pytest.mark.parametrize(
    ("method", "count", "wanted"),
    [
        ("VM.get_record", 0, "1"),
        ("VM.get_record", 2, "1"),
        ("VM.start", 1, "3"),
        ("VM.clone", 3, "2"),
        ("pool.get_all", 1, "0"),
    ],
)
def test_wrong_counts(me: User, nothing_changes: None, method: str, count: int, wanted: str):
    expected = ["MESSAGE_PARAMETER_COUNT_MISMATCH", method, wanted, str(count)]
    assert refusal(me, method, *["x"] * count) == expected


# Types and states


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("VM.set_VCPUs_max", "many"),
        ("VM.set_VCPUs_max", 1.5),
        ("VM.set_VCPUs_max", ["1"]),
        ("VM.set_VCPUs_max", {"1": "1"}),
        ("VM.set_name_label", ["a"]),
        ("VM.set_name_label", {"a": "b"}),
        ("VM.set_name_label", True),
        ("VM.set_is_a_template", "true"),
        ("VM.set_other_config", "text"),
        ("VM.set_other_config", [["k", "v"]]),
        ("VM.set_tags", "tag"),
        ("VM.set_tags", [["nested"]]),
        ("VM.set_actions_after_crash", "explode"),
        ("VM.set_memory_static_max", "99999999999999999999999"),
    ],
    ids=str,
)
def test_wrong_types(me: User, nothing_changes: None, method: str, value: object):
    vm = me.one("VM", "Other install media")
    code = refusal(me, method, vm, value)[0]
    assert code in ("INTERNAL_ERROR", "INVALID_VALUE", "FIELD_TYPE_ERROR", "VALUE_NOT_SUPPORTED")


def test_wrong_states(me: User, root: User):
    vm = root("VM.clone", root.one("VM", "Other install media"), "halted")
    root("VM.set_is_a_template", vm, False)
    before = root("VM.get_record", vm)
    for method, *more in (("clean_shutdown",), ("suspend",), ("pause",), ("clean_reboot",)):
        wanted = ["VM_BAD_POWER_STATE", vm, "running", "halted"]
        assert refusal(me, f"VM.{method}", vm, *more) == wanted, method
    assert refusal(me, "VM.resume", vm, False, False)[:2] == ["VM_BAD_POWER_STATE", vm]
    assert refusal(me, "VM.unpause", vm)[:2] == ["VM_BAD_POWER_STATE", vm]
    assert root("VM.get_record", vm) == before
    root("VM.destroy", vm)


def test_templates_do_not_start(me: User, nothing_changes: None):
    template = me.one("VM", "Other install media")
    assert refusal(me, "VM.start", template, False, False) == ["VM_IS_TEMPLATE", template, "start"]


def test_duplicate_keys(me: User, root: User):
    ref = root("network.create", network(root))
    me("network.add_to_other_config", ref, "key", "first")
    wanted = ["MAP_DUPLICATE_KEY", "network", "other_config", ref, "key"]
    assert refusal(me, "network.add_to_other_config", ref, "key", "second") == wanted
    assert root("network.get_other_config", ref) == {"key": "first"}
    me("network.remove_from_other_config", ref, "absent")
    root("network.destroy", ref)


def test_a_constructor_without_a_required_member(me: User, nothing_changes: None):
    for cls in ("VIF", "VBD"):
        details = refusal(me, f"{cls}.create", {"other_config": {}})
        assert details[0] == "INTERNAL_ERROR"
        assert any(f.name in details[1] for f in MODEL.classes[cls].wire_fields)


# Text


def characters(plane: int) -> str:
    """Give characters of a plane: its ends and some between, without what XML cannot carry."""
    start = plane << 16
    points = [start + n for n in (0x0, 0x9, 0x41, 0xE9, 0x3A3, 0x4E2D, 0xABCD, 0xE000, 0xFFFD)]
    return "".join(chr(p) for p in points if p >= 0x20)


@pytest.mark.parametrize("plane", range(17))
def test_names_of_every_unicode_plane_come_back(me: User, root: User, plane: int):
    name = characters(plane)
    ref = me("network.create", network(me, name))
    assert me("network.get_name_label", ref) == name
    assert root("network.get_record", ref)["name_label"] == name
    assert me("network.get_by_name_label", name) == [ref]
    token = me("event.from", ["network"], "", 0.0)["token"]
    me("network.set_other_config", ref, {name: name})
    (event,) = me("event.from", [f"network/{ref}"], token, 5.0)["events"]
    assert event["snapshot"]["name_label"] == name
    assert event["snapshot"]["other_config"] == {name: name}
    me("network.destroy", ref)


@pytest.mark.parametrize("name", ["<&>\"'", "]]>", "a\tb\nc", " spaces ", "\\u0041 \\", "&amp;"])
def test_names_with_the_letters_of_markup_come_back(me: User, root: User, name: str):
    ref = me("network.create", network(me, name))
    assert me("network.get_name_label", ref) == name
    assert root("network.get_name_label", ref) == name
    me("network.destroy", ref)


def test_characters_that_xml_cannot_carry_are_refused(pool: RunningPool, nothing_changes: None):
    with user(pool.host(), "json-2.0") as me:
        for name in ("\x00", "a\x01b", "\x1f"):
            assert refusal(me, "network.create", network(me, name))[0] in (
                "INTERNAL_ERROR",
                "INVALID_VALUE",
            )


def test_invalid_utf_8(pool: RunningPool, nothing_changes: None, others_are_served: None):
    for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        assert post(pool, "/", call_of(b"pool.get_all", bad)).status == 500
        answer = post(
            pool, "/jsonrpc", b'{"method":"pool.get_all","params":["' + bad + b'"],"id":1}'
        )
        assert answer.status == 200
        assert b"INVALID_VALUE" in answer.body


# Bodies


def call_of(method: bytes, *params: bytes) -> bytes:
    inner = b"".join(b"<param><value>" + p + b"</value></param>" for p in params)
    return b"<methodCall><methodName>%s</methodName><params>%s</params></methodCall>" % (
        method,
        inner,
    )


def test_a_body_of_300_KiB_is_read_and_one_byte_more_refused(pool: RunningPool, root: User):
    empty = len(call_of(b"VM.get_record", b"", b""))
    body = call_of(b"VM.get_record", b"x" * (LIMIT_BYTES - empty), b"")
    assert len(body) == LIMIT_BYTES
    answer = post(pool, "/", body)
    assert (answer.status, b"SESSION_INVALID" in answer.body) == (200, True)
    assert post(pool, "/", body + b" ").status == 500


def test_a_value_of_250_KB_is_kept(me: User):
    text = "x" * 250_000
    ref = me("network.create", network(me))
    me("network.set_name_description", ref, text)
    assert me("network.get_name_description", ref) == text
    me("network.destroy", ref)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">
<!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;"><!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;">
]><methodCall><methodName>pool.get_all</methodName><params><param><value>&g;</value></param></params>
</methodCall>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<methodCall><methodName>system.isAlive:x</methodName><params><param><value>&a;</value></param></params>
</methodCall>"""


@pytest.mark.parametrize("body", [BOMB, OUTSIDE], ids=["bomb", "file"])
def test_entities_are_not_expanded(pool: RunningPool, others_are_served: None, body: bytes):
    for path in ("/", "/RPC2", "/json"):
        answer = post(pool, path, body)
        assert len(answer.body) < 2000
        assert b"root:" not in answer.body
        assert answer.status == 500 or b"Failure" in answer.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<methodCall>",
        b"<methodCall/>",
        b"<methodCall><params/></methodCall>",
        call_of(b"pool.get_all", b"<int>x</int>"),
        call_of(b"pool.get_all", b"<unknown>x</unknown>"),
        b"<a>" * 90_000,
        b"<methodCall><methodName>a</methodName><params><param>" + b"<value><array><data>" * 9000,
    ],
    ids=lambda body: str(body[:40]),
)
def test_documents_that_are_no_call(pool: RunningPool, others_are_served: None, body: bytes):
    answer = post(pool, "/", body)
    assert answer.status == 500 or b"Failure" in answer.body
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'{"method":1,"params":[],"id":1}',
        b'{"method":"pool.get_all","params":5,"id":1}',
        b'{"method":"pool.get_all","id":1}',
        b"[" * 150_000,
        b'{"a":' * 60_000,
        b'{"method":"pool.get_all","params":[NaN],"id":1}',
        b'{"method":"pool.get_all","params":[1e999],"id":1}',
        b'{"method":"pool.get_all","params":["\\ud800"],"id":1}',
    ],
    ids=lambda body: str(body[:40]),
)
def test_json_that_is_no_call(pool: RunningPool, others_are_served: None, body: bytes):
    answer = post(pool, "/jsonrpc", body)
    assert answer.status == 500 or json.loads(answer.body).get("error")
    assert b"Traceback" not in answer.body


# Connections


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"P",
        b"POST / HTTP/1.1\r\nContent-Le",
        b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n<methodCall>",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 5000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PUT /import?session_id=x HTTP/1.0\r\nContent-Length: 10\r\n\r\nabc",
        b"CONNECT /console?uuid=x HTTP/1.0\r\n\r\n",
    ],
    ids=lambda sent: str(sent[:30]),
)
def test_half_requests_harm_nobody(pool: RunningPool, others_are_served: None, sent: bytes):
    for _ in range(20):
        connection = connect(pool)
        with contextlib.suppress(ConnectionError):
            connection.send(sent)
        connection.close()


def test_a_hundred_slow_clients_stall_nobody_and_are_let_go(
    pool: RunningPool, others_are_served: None
):
    host = pool.host()
    opened = [socket.create_connection((host.address, host.http), 30) for _ in range(100)]
    began = time.monotonic()
    for letter in b"POST / H":
        for one in opened:
            with contextlib.suppress(ConnectionError):
                one.send(bytes([letter]))
        time.sleep(0.2)
    for one in opened:
        with contextlib.suppress(ConnectionError):
            assert one.recv(1000) in (b"",) or True
        one.close()
    assert 5 < time.monotonic() - began < 25


def test_headers_without_end_are_refused(pool: RunningPool, others_are_served: None):
    connection = connect(pool)
    connection.send(b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000)
    assert connection.answer().status == 431
    connection.close()


def test_a_client_that_does_not_read_its_answers_stalls_nobody(
    pool: RunningPool, root: User, others_are_served: None
):
    host = pool.host()
    session = Client(connect(pool), XmlRpc()).call(
        "session.login_with_password", host.user, host.password, "2.6", "x"
    )
    connection = connect(pool)
    headers, body = XmlRpc().request("role.get_all_records", (session,))
    for _ in range(20):
        connection.send_post("/", headers, body)
    time.sleep(0.5)
    connection.close()


# Sessions and permissions


@pytest.mark.parametrize("session", ["", "OpaqueRef:NULL", NOTHING, "x" * 1000, "é"])
def test_unknown_sessions(pool: RunningPool, session: str):
    for dialect in (XmlRpc(), JsonRpc("1.0")):
        with pytest.raises(Exception) as refused:
            Client(connect(pool), dialect).call("VM.get_all", session)
        assert refused.value.args == ("SESSION_INVALID", session)


def test_a_session_that_ended(pool: RunningPool):
    host = pool.host()
    client = Client(connect(pool), XmlRpc())
    session = client.call("session.login_with_password", host.user, host.password, "2.6", "x")
    assert client.call("session.get_record", session, session)
    client.call("session.logout", session)
    for method in ("VM.get_all", "session.logout"):
        with pytest.raises(Exception) as refused:
            client.call(method, session)
        assert refused.value.args == ("SESSION_INVALID", session)


@pytest.mark.parametrize("transport", ["http", "json-2.0"])
def test_missing_permissions_name_permission_and_message(
    pool: RunningPool, nothing_changes: None, transport: str
):
    with as_role(pool, "read-only", transport) as me:
        vm, host = me.one("VM", "Other install media"), me.host()
        for method, *more in (
            ("VM.start", vm, False, False),
            ("VM.set_name_label", vm, "x"),
            ("VM.destroy", vm),
            ("VM.add_to_other_config", vm, "k", "v"),
            ("host.disable", host),
            ("network.create", network(me)),
            ("pool.sync_database",),
        ):
            details = refusal(me, method, *more)
            assert details[0] == "RBAC_PERMISSION_DENIED", (method, details)
            assert details[1].startswith(method.lower()), details
            assert re.search("permission", details[2], re.IGNORECASE)
        assert me("VM.get_record", vm)["uuid"]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("read-only", set()),
        ("vm-operator", {"VM.start"}),
        ("vm-admin", {"VM.start", "VM.clone", "network.destroy"}),
        ("vm-power-admin", {"VM.start", "VM.clone", "network.destroy", "VM.pool_migrate"}),
        (
            "pool-operator",
            {"VM.start", "VM.clone", "network.destroy", "VM.pool_migrate", "PIF.scan"},
        ),
    ],
)
def test_each_role_may_do_what_the_model_says(pool: RunningPool, role: str, allowed: set[str]):
    with as_role(pool, role, "http") as me:
        for method, more in {
            "VM.start": (NOTHING, False, False),
            "VM.clone": (NOTHING, "x"),
            "VM.pool_migrate": (NOTHING, NOTHING, {}),
            "network.destroy": (NOTHING,),
            "PIF.scan": (NOTHING,),
            "subject.create": ({},),
        }.items():
            code = refusal(me, method, *more)[0]
            assert (code != "RBAC_PERMISSION_DENIED") == (method in allowed), (method, code)


@contextlib.contextmanager
def as_role(pool: RunningPool, role: str, transport: str) -> Iterator[User]:
    """Log in as the user of a role."""
    host = pool.host()
    endpoint = type(host)(f"a-{role}", "pw", host.address, host.http, host.https, host.socket)
    with user(endpoint, transport) as session:
        yield session
