"""XenCenter's actions and their tasks, its heartbeat, and how it loses a server.

Tags: K for tasks, H for heartbeat and loss; see test_xencenter_connect.py.
"""

import contextlib
import re
import time

import pytest

from tests.contract.xencenter_client import Connection, JsonRpc, Refused, XmlRpc
from tests.contract.xencenter_session import GENERATIONS, XenCenter
from tests.contract.xencenter_steps import new_network, plain, poll, token
from tests.integration.running_pool import RunningPool, eventually

pytestmark = pytest.mark.integration


def test_K1_K2_K3_an_action_polls_its_task_and_destroys_it(xencenter: XenCenter):
    client, session = xencenter.client(), xencenter.session
    record = {"name_label": "by task", "name_description": "", "other_config": {}, "MTU": 1500}
    if xencenter.generation.is_xml:
        record["MTU"] = "1500"
    task = client.call("Async.network.create", session, {**record, "tags": []})
    for key in ("XenCenterUUID", "XenCenterMeddlingActionTitle", "applies_to"):
        client.call("task.remove_from_other_config", session, task, key)
        client.call("task.add_to_other_config", session, task, key, "value")
    assert isinstance(client.call("task.get_allowed_operations", session, task), list)
    state = poll(client, session, task)
    assert (state["status"], float(state["progress"])) == ("success", 1.0)
    found = re.fullmatch(r"<value>(OpaqueRef:[0-9a-f-]{36})</value>", state["result"])
    assert found, state["result"]
    assert client.call("task.get_record", session, task)["status"] == "success"
    client.call("task.destroy", session, task)
    with pytest.raises(Refused) as refused:
        client.call("task.get_record", session, task)
    assert refused.value.args == ("HANDLE_INVALID", "task", task)
    client.call("network.destroy", session, found[1])


def test_K1_K2_a_void_action(xencenter: XenCenter):
    client, session = xencenter.client(), xencenter.session
    task = client.call("Async.pool.sync_database", session)
    state = poll(client, session, task)
    assert (state["status"], state["result"] in ("", "<value></value>")) == ("success", True)
    client.call("task.destroy", session, task)


def test_K1_a_failed_action_tells_why(xencenter: XenCenter):
    client, session = xencenter.client(), xencenter.session
    task = client.call("Async.network.destroy", session, "OpaqueRef:none")
    state = poll(client, session, task)
    assert state["status"] == "failure"
    assert state["error_info"] == ["HANDLE_INVALID", "network", "OpaqueRef:none"]
    client.call("task.destroy", session, task)


# Heartbeat, loss, reconnect


def test_H1_the_heartbeat_answers_while_events_are_awaited(xencenter: XenCenter):
    poller, heart = xencenter.client(), xencenter.client()
    poller.start("event.from", xencenter.session, ["pool_update"], token(xencenter), 1.5)
    for _ in range(5):
        began = time.monotonic()
        heart.call("host.get_servertime", xencenter.session, xencenter.master_ref)
        assert time.monotonic() - began < 1
    poller.finish()


def test_H2_nothing_new_is_an_empty_batch_in_time(xencenter: XenCenter):
    client, last = xencenter.client(), token(xencenter)
    began = time.monotonic()
    answer = client.call("event.from", xencenter.session, ["pool_update"], last, 1.0)
    assert answer["events"] == []
    assert 0.9 < time.monotonic() - began < 3
    again = client.call("event.from", xencenter.session, ["pool_update"], answer["token"], 0.0)
    assert again["events"] == []


def test_H2_a_token_of_this_server_is_never_lost(xencenter: XenCenter):
    client, session = xencenter.client(), xencenter.session
    old = token(xencenter)
    network = new_network(client, xencenter)
    for number in range(200):
        client.call("network.set_name_description", session, network, str(number))
    answer = client.call("event.from", session, ["*"], old, 30.0)
    (event,) = (e for e in answer["events"] if e["ref"] == network)
    assert (event["operation"], event["snapshot"]["name_description"]) == ("add", "199")
    client.call("network.destroy", session, network)


@pytest.mark.slow
def test_H2_a_token_from_before_a_restart_gives_everything_or_a_clean_failure(make_pool):
    pool = make_pool().start()
    client = XenCenter(GENERATIONS["7.1"], pool).connect()
    old, objects = client.first["token"], client.snapshots("VM")
    pool.restart()
    back = XenCenter(GENERATIONS["7.1"], pool).connect()
    assert set(back.pools) == set(client.pools)
    assert set(back.snapshots("VM")) == set(objects)
    try:
        answer = back.client().call("event.from", back.session, ["*"], old, 5.0)
    except Refused as refused:
        assert refused.args[0] in ("EVENTS_LOST", "EVENT_FROM_TOKEN_PARSE_FAILURE")
    else:
        seen = {e["ref"] for e in answer["events"] if e["class"] == "vm"}
        assert seen == set(objects)


@pytest.mark.slow
def test_H4_a_member_names_its_master(make_pool):
    pool = make_pool().start()
    (pool.state / "host-1" / "pool.conf").write_text("slave:192.0.2.5")
    before = pool.kill("xapi")
    eventually(lambda: started_again(pool, before), "xapi is started again")
    host = pool.host()
    for dialect in (XmlRpc(), JsonRpc("1.0")):
        with pytest.raises(Refused) as refused:
            plain(pool, dialect).call(
                "session.login_with_password", host.user, "wrong", "2.6", "XenAPI/2.6"
            )
        assert refused.value.args == ("HOST_IS_SLAVE", "192.0.2.5")


def started_again(pool: RunningPool, before: int) -> bool:
    """Tell whether another process serves the host's port."""
    with contextlib.suppress(LookupError, OSError):
        if pool.daemon("xapi") != before:
            Connection(pool.host().address, pool.host().http).close()
            return True
    return False


@pytest.mark.parametrize("xencenter", ["2023"], indirect=True)
def test_H4_a_wrong_password_has_its_own_code(xencenter: XenCenter):
    client = xencenter.client(xencenter.generation.login())
    with pytest.raises(Refused) as refused:
        client.call("session.login_with_password", "root", "wrong", "2.6", "XenAPI/2.6")
    assert refused.value.args[0] == "SESSION_AUTHENTICATION_FAILED"


def test_H5_a_logout_ends_the_blocked_wait(xencenter: XenCenter):
    host = xencenter.pool.host()
    poller, other = xencenter.client(), xencenter.client()
    session = other.call("session.login_with_password", host.user, host.password, "2.6", "x")
    poller.start("event.from", session, ["pool_update"], token(xencenter), 30.0)
    began = time.monotonic()
    other.call("session.logout", session)
    with pytest.raises(Refused) as refused:
        poller.finish()
    assert refused.value.args == ("SESSION_INVALID", session)
    assert time.monotonic() - began < 5


def test_H6_two_installations_have_different_pools(xencenter: XenCenter, request):
    other = "newest_server" if xencenter.generation.profile == "7.1" else "shared_server"
    with request.getfixturevalue(other).host().session() as session:
        assert not set(session.xenapi.pool.get_all()) & set(xencenter.pools)
