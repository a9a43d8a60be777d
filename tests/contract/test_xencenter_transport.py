"""What XenCenter needs of TLS, HTTP and the encodings.

Tags: T for TLS, X and J for the two encodings; see test_xencenter_connect.py.
"""

import pytest

from tests.contract.xencenter_client import NULL, SCHANNEL_2017, Client, Connection, Refused, XmlRpc
from tests.contract.xencenter_session import XenCenter, fits
from tests.contract.xencenter_steps import plain
from tests.integration.running_pool import RunningPool
from xapi_py.datamodel.profiles import load_model
from xapi_py.datamodel.value_types import OptionOf

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("cipher", SCHANNEL_2017)
def test_T2_tls_1_2_with_each_suite_of_windows_2017(shared_server: RunningPool, cipher: str):
    host = shared_server.host()
    connection = Connection(host.address, host.https, ciphers=cipher)
    assert connection.cipher == (cipher, "TLSv1.2") or connection.cipher[0] == cipher
    assert Client(connection, XmlRpc()).raw("pool.get_all", "none").status == 200


def test_T1_plain_http_on_the_other_port(shared_server: RunningPool):
    host = shared_server.host()
    client = Client(Connection(host.address, host.http), XmlRpc())
    assert client.call("session.login_with_password", host.user, host.password, "2.6", "x")


def test_X1_status_200_and_the_connection_is_kept(shared_server: RunningPool):
    host = shared_server.host()
    client = Client(Connection(host.address, host.https, ciphers=SCHANNEL_2017[0]), XmlRpc())
    for _ in range(3):
        answer = client.raw("session.get_all_subject_identifiers", "OpaqueRef:none")
        assert (answer.version, answer.status) == ("HTTP/1.1", 200)
        assert answer.headers["content-type"] == "text/xml"
        assert answer.headers.get("connection", "keep-alive").lower() == "keep-alive"


def test_X2_failures_are_structs_with_strings(shared_server: RunningPool):
    client = plain(shared_server, XmlRpc())
    with pytest.raises(Refused) as refused:
        client.call("VM.get_record", "OpaqueRef:none", NULL)
    assert refused.value.args == ("SESSION_INVALID", "OpaqueRef:none")


def test_X2_void_is_an_empty_string(xencenter: XenCenter):
    client = xencenter.client()
    (pool,) = xencenter.pools
    for method, *more in (("remove_from_gui_config", "absent"), ("add_to_gui_config", "k", "v")):
        assert client.call(f"pool.{method}", xencenter.session, pool, *more) in ("", None)
    client.call("pool.remove_from_gui_config", xencenter.session, pool, "k")


def test_X3_X4_J4_J5_every_record_fits_its_class(xencenter: XenCenter):
    model, is_xml = load_model(xencenter.generation.profile), xencenter.generation.is_xml
    classes = {name.lower(): cls for name, cls in model.classes.items()}
    for event in xencenter.first["events"]:
        cls = classes[event["class"]]
        for f in cls.wire_fields:
            if f.name not in event["snapshot"] and isinstance(f.type, OptionOf):
                continue
            value = event["snapshot"][f.name]
            assert fits(value, f.type, is_xml, model), (event["class"], f.name, value)


def test_X6_unknown_methods_and_wrong_counts_are_failures(xencenter: XenCenter):
    client, session = xencenter.client(), xencenter.session
    with pytest.raises(Refused) as refused:
        client.call("VM.no_such_message", session)
    assert refused.value.args == ("MESSAGE_METHOD_UNKNOWN", "VM.no_such_message")
    with pytest.raises(Refused) as refused:
        client.call("VM.get_record", session)
    assert refused.value.args == ("MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_record", "1", "0")


def test_J1_status_200_also_for_failures(xencenter: XenCenter):
    answer = xencenter.client().raw("VM.get_record", xencenter.session, "OpaqueRef:none")
    assert answer.status == 200
    wanted = "text/xml" if xencenter.generation.is_xml else "application/json"
    assert answer.headers["content-type"] == wanted
    assert not answer.body.startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("xencenter", ["8.2_with_API_2.6"], indirect=True)
def test_J2_version_1_has_result_error_and_id(xencenter: XenCenter):
    client = xencenter.client()
    good = client.raw("pool.get_all", xencenter.session).body
    assert b'"error":null' in good
    assert b'"id":' in good
    with pytest.raises(Refused) as refused:
        client.call("VM.get_record", xencenter.session, "OpaqueRef:none")
    assert refused.value.args == ("HANDLE_INVALID", "VM", "OpaqueRef:none")


@pytest.mark.parametrize("xencenter", ["8.2_with_newest", "2023"], indirect=True)
def test_J3_version_2_has_no_error_on_success_and_data_on_failure(xencenter: XenCenter):
    client = xencenter.client()
    good = client.raw("pool.get_all", xencenter.session).body
    assert b'"jsonrpc":"2.0"' in good
    assert b'"error"' not in good
    with pytest.raises(Refused) as refused:
        client.call("VM.get_record", xencenter.session, "OpaqueRef:none")
    assert refused.value.args == ("HANDLE_INVALID", "VM", "OpaqueRef:none")


def test_J5_the_members_of_an_answer_and_of_an_event(xencenter: XenCenter):
    assert set(xencenter.first) == {"events", "valid_ref_counts", "token"}
    assert isinstance(xencenter.first["token"], str)
    for event in xencenter.first["events"]:
        assert set(event) >= {"id", "timestamp", "class", "operation", "ref", "snapshot"}
        if xencenter.generation.is_xml:
            assert isinstance(event["timestamp"], str)
            assert isinstance(event["id"], str)
