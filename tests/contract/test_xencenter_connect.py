"""XenCenter's way from "Add server" to a filled tree, for each generation of its protocol.

The connect sequence runs once for each generation; then every condition under
which that client throws or drops the connection has a test with the
condition's tag in its id: here L for the steps of the sequence and C for what
is checked afterwards; X, J and T in test_xencenter_transport.py; E and R for
events and fields in test_xencenter_records.py; K for tasks, H for heartbeat and
loss in test_xencenter_actions.py.
"""

from datetime import UTC, datetime

import pytest

from tests.contract.xencenter_client import DATE, NULL, XmlRpc
from tests.contract.xencenter_session import XenCenter
from tests.contract.xencenter_steps import plain
from tests.integration.running_pool import RunningPool

pytestmark = pytest.mark.integration


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
