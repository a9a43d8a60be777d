"""XenCenter's way from "Add server" to a filled tree, for each generation of its protocol.

The connect sequence runs once for each generation; then every condition under
which that client throws or drops the connection has a test with the
condition's tag in its id: X and J for the two encodings, L for the steps of the
sequence, C for what is checked afterwards, E and R for events and fields, K
for tasks, H for heartbeat and loss, T for TLS.
"""

import contextlib
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.xencenter_client import (
    DATE,
    SCHANNEL_2017,
    Client,
    Connection,
    JsonRpc,
    Refused,
    XmlRpc,
)
from tests.contract.xencenter_session import GENERATIONS, XenCenter, fits
from tests.integration.running_pool import RunningPool, eventually, running
from xapi_py.datamodel.profiles import load_model
from xapi_py.datamodel.value_types import OptionOf

pytestmark = pytest.mark.integration

NULL = "OpaqueRef:NULL"
UNKNOWN_TO_CLIENTS = {"session", "event", "user", "secret", "vtpm"}


@pytest.fixture(scope="module")
def newest_server() -> Iterator[RunningPool]:
    with running("--profile", "newest") as pool:
        yield pool.start()


@pytest.fixture(scope="module", params=list(GENERATIONS), ids=list(GENERATIONS))
def xencenter(request: pytest.FixtureRequest) -> XenCenter:
    generation = GENERATIONS[request.param]
    name = "shared_server" if generation.profile == "7.1" else "newest_server"
    return XenCenter(generation, request.getfixturevalue(name)).connect()


# 1. Transport


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


# 2. Connecting


@pytest.mark.parametrize("count", [2, 3, 4])
def test_L2_login_with_fewer_parameters(shared_server: RunningPool, count: int):
    host = shared_server.host()
    arguments = (host.user, host.password, "2.6", "XenAPI/2.6")[:count]
    assert plain(shared_server, XmlRpc()).call("session.login_with_password", *arguments)


def test_L3_one_pool_with_a_master(xencenter: XenCenter):
    (pool,) = xencenter.pools.values()
    assert pool["master"].startswith("OpaqueRef:")
    assert pool["master"] != NULL


def test_L4_the_API_version_is_one_the_client_knows(xencenter: XenCenter):
    pair = (int(xencenter.master["API_version_major"]), int(xencenter.master["API_version_minor"]))
    if xencenter.generation.profile == "7.1":
        assert pair == (2, 6)
    else:
        assert pair >= (2, 8)


def test_L5_root_is_the_local_superuser(xencenter: XenCenter):
    assert xencenter.superuser is True


def test_L5_permissions_and_roles_name_the_role_of_root(xencenter: XenCenter):
    names = {role["name_label"] for role in xencenter.roles.values()}
    assert "pool-admin" in names
    assert set(xencenter.permissions) <= names
    assert xencenter.superuser or "pool-admin" in xencenter.permissions


def test_L6_subroles_resolve(xencenter: XenCenter):
    for role in xencenter.roles.values():
        assert set(role["subroles"]) <= set(xencenter.roles), role["name_label"]


def test_L7_the_first_batch_is_everything(xencenter: XenCenter):
    events = xencenter.first["events"]
    assert {e["operation"] for e in events} <= {"add", "mod"}
    assert len({(e["class"], e["ref"]) for e in events}) == len(events)
    assert len(xencenter.snapshots("pool")) == 1
    assert xencenter.cached_host["address"]
    client = xencenter.client()
    for cls in ("VM", "host", "network", "SR", "VDI", "PIF", "role", "console", "VM_metrics"):
        listed = client.call(f"{cls}.get_all", xencenter.session)
        assert set(listed) == set(xencenter.snapshots(cls)), cls


def test_L8_the_time_of_the_server_is_now_in_UTC(xencenter: XenCenter):
    told = datetime.strptime(xencenter.servertime, "%Y%m%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(told.timestamp() - xencenter.asked_at) < 5


def test_C1_the_brand(xencenter: XenCenter):
    assert xencenter.cached_host["software_version"]["product_brand"] == "XenServer"


@pytest.mark.parametrize("xencenter", ["7.1", "8.2_with_API_2.6"], indirect=True)
def test_C2_the_client_versions_it_accepts(xencenter: XenCenter):
    version = xencenter.cached_host["software_version"]
    known = {f"2.{minor}" for minor in range(1, 7)}
    assert {version["xencenter_min"], version["xencenter_max"]} <= known
    assert float(version["xencenter_min"]) <= 2.6


def test_C4_the_licence_expiry_parses(xencenter: XenCenter):
    expiry = xencenter.cached_host["license_params"]["expiry"]
    assert DATE.match(expiry)
    datetime.strptime(expiry, "%Y%m%dT%H:%M:%SZ")


# 3. Records and events


def test_E1_operations_and_full_records(xencenter: XenCenter):
    with followed(xencenter) as (client, events):
        network = new_network(client, xencenter)
        added = events(network)
        client.call("network.set_name_label", xencenter.session, network, "renamed")
        changed = events(network)
        client.call("network.destroy", xencenter.session, network)
        deleted = events(network)
    record_members = set(next(iter(xencenter.snapshots("network").values())))
    assert [e["operation"] for e in (added, changed, deleted)] == ["add", "mod", "del"]
    assert set(added["snapshot"]) == set(changed["snapshot"]) == record_members
    assert changed["snapshot"]["name_label"] == "renamed"


def test_E2_class_names_are_those_of_the_interface(xencenter: XenCenter):
    known = {name.lower() for name in load_model(xencenter.generation.profile).classes}
    seen = {e["class"] for e in xencenter.first["events"]}
    assert seen <= known
    assert not seen & UNKNOWN_TO_CLIENTS


def test_E3_an_object_arrives_at_once(xencenter: XenCenter):
    with followed(xencenter) as (client, events):
        network = new_network(client, xencenter)
        made = time.monotonic()
        assert events(network)["operation"] == "add"
        assert time.monotonic() - made < 1
        client.call("network.destroy", xencenter.session, network)


def test_R1_the_pool(xencenter: XenCenter):
    (pool,) = xencenter.snapshots("pool").values()
    assert pool["master"] in xencenter.snapshots("host")
    assert pool["name_label"] == ""


def test_R2_the_host_is_reachable_live_and_enabled(xencenter: XenCenter):
    host = xencenter.cached_host
    assert host["address"] == xencenter.pool.host().address
    metrics = xencenter.snapshots("host_metrics")[host["metrics"]]
    assert metrics["live"] is True
    assert int(metrics["memory_total"]) > 0
    assert host["enabled"] is True


def test_R3_the_edition(xencenter: XenCenter):
    editions = "free per-socket xendesktop enterprise-per-socket enterprise-per-user"
    editions += " standard-per-socket desktop desktop-plus premium standard"
    assert xencenter.cached_host["edition"] in editions.split()


def test_R4_the_license_server(xencenter: XenCenter):
    server = xencenter.cached_host["license_server"]
    assert set(server) == {"address", "port"}
    assert int(server["port"])


def test_R5_versions_are_three_integers(xencenter: XenCenter):
    version = xencenter.cached_host["software_version"]
    for key in ("product_version", "platform_version"):
        assert re.fullmatch(r"\d+\.\d+\.\d+", version[key]), key
    assert re.match(r"\d+", version["build_number"])
    assert version["network_backend"] in ("bridge", "openvswitch")


def test_R6_every_feature_is_granted_and_no_grace_period_runs(xencenter: XenCenter):
    granted = xencenter.cached_host["license_params"]
    features = "rbac dmc hotfix_apply batch_hotfix_apply checkpoint cifs wlb vswitch_controller"
    features += " pci_device_for_auto_update pooling vmpr dr storage_xen_motion email_alerting"
    features += " netapp historical_performance cpu_masking gpu vgpu read_caching health_check"
    features += " integrated_gpu_passthrough export_resource_data pvs_proxy live_patching"
    features += " set_vcpus_number_live"
    for feature in features.split():
        assert granted[f"restrict_{feature}"] == "false", feature
    assert granted["enable_xha"] == "true"
    assert "grace" not in granted


def test_R7_the_processor(xencenter: XenCenter):
    info = xencenter.cached_host["cpu_info"]
    keys = "cpu_count socket_count vendor speed modelname family model stepping flags features"
    for key in (*keys.split(), "features_pv", "features_hvm"):
        assert key in info, key
    assert info["vendor"]
    assert int(info["cpu_count"]) == len(xencenter.snapshots("host_cpu"))
    for key in ("features_pv", "features_hvm"):
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8})*", info[key])
    (pool,) = xencenter.snapshots("pool").values()
    assert pool["cpu_info"]["vendor"] == info["vendor"]


def test_R8_processor_numbers_are_unique(xencenter: XenCenter):
    processors = xencenter.snapshots("host_cpu")
    assert set(xencenter.cached_host["host_CPUs"]) == set(processors)
    assert len({p["number"] for p in processors.values()}) == len(processors) > 0


def test_R9_the_control_domain_lives_on_the_host(xencenter: XenCenter):
    host = xencenter.cached_host
    domain = xencenter.snapshots("VM")[host["control_domain"]]
    assert host["control_domain"] in host["resident_VMs"]
    assert domain["is_control_domain"] is True
    assert int(domain["domid"]) == 0
    assert int(xencenter.snapshots("VM_metrics")[domain["metrics"]]["memory_actual"]) > 0


def test_R10_times_of_the_host(xencenter: XenCenter):
    for key in ("boot_time", "agent_start_time"):
        assert re.fullmatch(r"\d+\.\d*", xencenter.cached_host["other_config"][key])


def test_R11_references_of_templates_are_never_empty(xencenter: XenCenter):
    for vm in xencenter.snapshots("VM").values():
        for member in ("affinity", "suspend_VDI", "suspend_SR", "resident_on", "appliance"):
            assert vm[member].startswith("OpaqueRef:"), (vm["name_label"], member)
        assert vm["HVM_boot_policy"] is not None


def test_R12_recommendations_are_restrictions(xencenter: XenCenter):
    for vm in xencenter.snapshots("VM").values():
        if vm["recommendations"]:
            assert ET.fromstring(vm["recommendations"]).tag == "restrictions"


def test_R13_the_templates_of_the_guide_are_there(xencenter: XenCenter):
    built_in = [
        vm
        for vm in xencenter.snapshots("VM").values()
        if vm["is_a_template"]
        and ("default_template" in vm["other_config"] or vm.get("is_default_template"))
    ]
    assert "Other install media" in {vm["name_label"] for vm in built_in}
    if xencenter.generation.profile == "7.1":
        assert "Windows 8 (32-bit)" in {vm["name_label"] for vm in built_in}


def test_R14_disks_of_templates_have_all_attributes(xencenter: XenCenter):
    described = [
        vm["other_config"]["disks"]
        for vm in xencenter.snapshots("VM").values()
        if "disks" in vm["other_config"]
    ]
    assert described
    for text in described:
        assert text.startswith("<provision>")
        for disk in ET.fromstring(text):
            assert disk.tag == "disk"
            assert {"device", "size", "sr", "bootable", "type"} <= set(disk.attrib)
            assert int(disk.attrib["size"]) > 0


def test_R17_R18_each_repository_has_a_driver_that_can_hold_disks(xencenter: XenCenter):
    drivers = {sm["type"]: sm for sm in xencenter.snapshots("SM").values()}
    repositories = xencenter.snapshots("SR")
    attached = xencenter.snapshots("PBD")
    assert {sr["type"] for sr in repositories.values()} <= set(drivers)
    assert {"nfs", "lvmoiscsi", "lvmohba", "iso"} <= set(drivers)
    for sr in repositories.values():
        assert sr["PBDs"], sr["name_label"]
        assert all(attached[pbd]["currently_attached"] for pbd in sr["PBDs"]), sr["name_label"]
    assert any("VDI_CREATE" in drivers[sr["type"]]["capabilities"] for sr in repositories.values())


def test_R20_interfaces_of_the_host(xencenter: XenCenter):
    interfaces, networks = xencenter.snapshots("PIF"), xencenter.snapshots("network")
    metrics = xencenter.snapshots("PIF_metrics")
    assert set(xencenter.cached_host["PIFs"]) == set(interfaces)
    assert [p["device"] for p in interfaces.values() if p["management"]] == ["eth0"]
    for interface in interfaces.values():
        assert re.fullmatch(r"eth\d+", interface["device"])
        assert int(interface["VLAN"]) == -1
        assert interface["network"] in networks
        assert interface["host"] == xencenter.master_ref
        assert interface["metrics"] in metrics


def test_R21_networks_have_the_names_that_are_shortened(xencenter: XenCenter):
    names = {n["name_label"] for n in xencenter.snapshots("network").values()}
    assert "Host internal management network" in names
    if xencenter.generation.profile == "7.1":
        assert "Pool-wide network associated with eth0" in names


def test_R22_consoles_are_absolute_addresses(xencenter: XenCenter):
    host = xencenter.pool.host()
    for console in xencenter.snapshots("console").values():
        assert console["location"].startswith(f"https://{host.address}:{host.https}/console?")
        assert console["VM"] in xencenter.snapshots("VM")


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


# 2.3 Heartbeat, loss, reconnect


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


@pytest.mark.parametrize("xencenter", ["7.1", "2023"], indirect=True)
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


# What the tests use


def plain(pool: RunningPool, dialect: XmlRpc | JsonRpc) -> Client:
    """Give a client over plain HTTP."""
    host = pool.host()
    return Client(Connection(host.address, host.http), dialect)


def token(xencenter: XenCenter) -> str:
    """Give a token of now."""
    answer = xencenter.client().call("event.from", xencenter.session, ["*"], "", 0.0)
    last: str = answer["token"]
    return last


def new_network(client: Client, xencenter: XenCenter) -> str:
    mtu: object = "1500" if xencenter.generation.is_xml else 1500
    record = {"name_label": "N", "name_description": "", "MTU": mtu, "other_config": {}}
    ref: str = client.call("network.create", xencenter.session, {**record, "tags": []})
    return ref


def poll(client: Client, session: str, task: str) -> dict[str, Any]:
    """Read the task until it has ended, as actions do; gives its record."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state: dict[str, Any] = client.call("task.get_record", session, task)
        if state["status"] in ("success", "failure", "cancelled"):
            return state
        time.sleep(0.05)
    raise AssertionError(f"the task goes on: {state}")


@contextlib.contextmanager
def followed(xencenter: XenCenter) -> Iterator[tuple[Client, Callable[[str], dict[str, Any]]]]:
    """A client for calls, and a function that gives the next event of an object.

    Events are awaited as the client does it: a loop on a connection of its own.
    """
    poller = xencenter.client()
    last = token(xencenter)

    def next_event(ref: str) -> dict[str, Any]:
        nonlocal last
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = poller.call("event.from", xencenter.session, ["*"], last, 10.0)
            last = answer["token"]
            for event in answer["events"]:
                if event["ref"] == ref:
                    found: dict[str, Any] = event
                    return found
        raise AssertionError(f"no event of {ref}")

    yield xencenter.client(), next_event
