"""All real daemons under the supervisor: every way in, killed daemons, restarts."""

import contextlib
import xmlrpc.client

import pytest
import XenAPI

from tests.integration.running_pool import RunningPool, eventually

pytestmark = pytest.mark.integration

NETWORK = {"name_description": "", "MTU": 1500, "other_config": {}, "tags": []}


def answers(pool: RunningPool) -> bool:
    with contextlib.suppress(OSError, xmlrpc.client.Error), pool.host().session() as session:
        return bool(session.xenapi.pool.get_all())
    return False


@pytest.mark.parametrize("transport", ["http", "https", "unix"])
def test_the_sdk_reaches_the_pool(server, transport):
    with server.host().session(transport) as session:
        (pool,) = session.xenapi.pool.get_all()
        assert session.xenapi.host.get_address(session.xenapi.pool.get_master(pool)) == "127.0.0.1"


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("tls", [False, True])
def test_json_rpc_reaches_the_pool(server, version, tls):
    client = server.host().json(version, tls).login()
    assert len(client.call("pool.get_all")) == 1
    with pytest.raises(XenAPI.Failure) as caught:
        client.call("VM.get_record", "OpaqueRef:nothing")
    assert caught.value.details == ["HANDLE_INVALID", "VM", "OpaqueRef:nothing"]


def test_a_wrong_password_is_refused(server):
    session = server.host().connect()
    with pytest.raises(XenAPI.Failure) as caught:
        session.xenapi.login_with_password("root", "wrong", "2.6", "tests")
    assert caught.value.details[0] == "SESSION_AUTHENTICATION_FAILED"


@pytest.mark.parametrize("daemon", ["xenopsd", "smd", "networkd", "xapi"])
def test_the_pool_answers_again_after_a_daemon_was_killed(server, daemon):
    before = server.kill(daemon)

    def back() -> bool:
        try:
            return server.daemon(daemon) != before
        except LookupError:
            return False

    eventually(back, f"{daemon} is started again")
    eventually(lambda: answers(server), "the pool answers")


def test_what_was_answered_survives_a_restart_of_everything(make_pool):
    pool = make_pool().start()
    with pool.host().session() as session:
        ref = session.xenapi.network.create({"name_label": "kept", **NETWORK})
        uuid = session.xenapi.network.get_uuid(ref)
    pool.restart()
    with pool.host().session() as session:
        assert session.xenapi.network.get_by_uuid(uuid) == ref
        assert session.xenapi.network.get_name_label(ref) == "kept"
