"""Storage and network of a running pool: every SR type, disks, VLANs, bonds, tunnels, crashes."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import XenAPI

from tests.integration.running_pool import RunningPool

MakePool = Callable[..., RunningPool]

TYPES: list[tuple[str, dict[str, str], bool]] = [
    ("nfs", {"server": "192.0.2.20", "serverpath": "/export/vms"}, True),
    ("smb", {"server": r"\\192.0.2.30\vms", "username": "alice", "password": "secret"}, True),
    ("ext", {"device": "/dev/sdb"}, False),
    ("lvm", {"device": "/dev/sdc"}, False),
    ("file", {"location": "/var/run/sr-mount/file"}, False),
    ("lvmohba", {"SCSIid": "3600a098038800000534900000053494d"}, True),
    ("dummy", {}, False),
]
FIXED: list[tuple[str, dict[str, str]]] = [
    ("iso", {"location": "//192.0.2.30/iso", "type": "cifs"}),
    ("iscsi", {"target": "192.0.2.10", "targetIQN": "iqn.2026-01.org.example:storage.open"}),
    ("hba", {"type": "FC"}),
]


def log_in(pool: RunningPool) -> Any:
    endpoint = pool.host()
    session = XenAPI.Session(endpoint.http_url)
    session.xenapi.login_with_password(endpoint.user, endpoint.password, "2.6", "tests")
    return session.xenapi


def refused(call: Callable[..., Any], *arguments: Any) -> list[str]:
    with pytest.raises(XenAPI.Failure) as caught:
        call(*arguments)
    details: list[str] = caught.value.details
    return details


def make_sr(api: Any, sr_type: str, config: dict[str, str], shared: bool) -> str:
    (host,) = api.host.get_all()
    return str(api.SR.create(host, config, "0", sr_type, "", sr_type, "user", shared, {}))


def vdi(api: Any, sr: str, size: int = 1 << 30) -> str:
    record = {
        "name_label": "disk", "name_description": "", "SR": sr, "virtual_size": str(size),
        "type": "user", "sharable": False, "read_only": False, "other_config": {},
    }  # fmt: skip
    return str(api.VDI.create(record))


def uuids(api: Any, sr: str) -> set[str]:
    return {api.VDI.get_uuid(ref) for ref in api.SR.get_VDIs(sr)}


def once_there(call: Callable[[], Any]) -> None:
    """Call until the daemon that was killed is there again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            call()
        except XenAPI.Failure:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.mark.parametrize(("sr_type", "config", "shared"), TYPES)
def test_srs_users_make_disks_on(
    server: RunningPool, sr_type: str, config: dict[str, str], shared: bool
) -> None:
    api = log_in(server)
    (host,) = api.host.get_all()
    sr = make_sr(api, sr_type, config, shared)
    uuid = api.SR.get_uuid(sr)
    if sr_type != "dummy":
        assert uuid in api.SR.probe(host, config, sr_type, {})
    disk = vdi(api, sr)
    snapshot = api.VDI.snapshot(disk, {})
    api.SR.scan(sr)
    assert {api.VDI.get_uuid(disk), api.VDI.get_uuid(snapshot)} <= uuids(api, sr)
    assert int(api.SR.get_physical_size(sr)) > 0
    for each in (disk, snapshot):
        api.VDI.destroy(each)
    (pbd,) = api.SR.get_PBDs(sr)
    api.PBD.unplug(pbd)
    api.SR.destroy(sr)


@pytest.mark.parametrize(("sr_type", "config"), FIXED)
def test_srs_whose_content_is_given(
    server: RunningPool, sr_type: str, config: dict[str, str]
) -> None:
    api = log_in(server)
    sr = make_sr(api, sr_type, config, True)
    assert api.SR.get_VDIs(sr)
    api.SR.scan(sr)
    api.PBD.unplug(api.SR.get_PBDs(sr)[0])
    api.SR.forget(sr)


def test_iscsi_is_found_by_failing(server: RunningPool) -> None:
    api = log_in(server)
    (host,) = api.host.get_all()
    before = len(api.SR.get_all()), len(api.PBD.get_all()), len(api.secret.get_all())
    config = {"target": "192.0.2.10", "port": "3260"}
    arguments = ("0", "__gui__", "", "lvmoiscsi", "user", True, {})
    failure = refused(api.SR.create, host, config, *arguments)
    assert failure[0] == "SR_BACKEND_FAILURE_96"
    assert failure[3].startswith("<?xml")
    config["targetIQN"] = "iqn.2026-01.org.example:storage.open"
    assert refused(api.SR.create, host, config, *arguments)[0] == "SR_BACKEND_FAILURE_107"
    after = len(api.SR.get_all()), len(api.PBD.get_all()), len(api.secret.get_all())
    assert after == before


def test_vlans_bonds_and_tunnels(server: RunningPool) -> None:
    api = log_in(server)
    pifs = {record["device"]: ref for ref, record in api.PIF.get_all_records().items()}
    networks = [api.network.create({"name_label": f"n{n}", "other_config": {}}) for n in range(3)]
    vlan = api.VLAN.create(pifs["eth1"], "10", networks[0])
    bond = api.Bond.create(networks[1], [pifs["eth1"], pifs["eth2"]], "", "active-backup", {})
    assert api.PIF.get_device(api.VLAN.get_tagged_PIF(vlan)) == "bond0"
    api.PIF.reconfigure_ip(api.Bond.get_master(bond), "Static", "10.0.0.5", "255.255.255.0", "", "")
    tunnel = api.tunnel.create(api.Bond.get_master(bond), networks[2])
    assert api.tunnel.get_status(tunnel)["active"] == "true"
    api.tunnel.destroy(tunnel)
    api.Bond.destroy(bond)
    assert api.PIF.get_IP(pifs["eth1"]) == "10.0.0.5"
    api.VLAN.destroy(vlan)
    for network in networks:
        api.network.destroy(network)


def test_records_and_daemons_agree_after_kills(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.start()
    api = log_in(pool)
    (sr,) = api.SR.get_by_name_label("NFS virtual disk storage")
    kept = vdi(api, sr)
    pifs = {record["device"]: ref for ref, record in api.PIF.get_all_records().items()}
    network = api.network.create({"name_label": "bond", "other_config": {}})
    bond = api.Bond.create(network, [pifs["eth1"], pifs["eth2"]], "", "active-backup", {})
    for name in ("smd", "networkd"):
        pool.kill(name)
        once_there(lambda: vdi(api, sr))
        once_there(lambda: api.PIF.scan(api.host.get_all()[0]))
    expected = uuids(api, sr)
    pool.restart()
    api = log_in(pool)
    assert uuids(api, sr) == expected
    assert api.VDI.get_name_label(kept) == "disk"
    assert api.PIF.get_currently_attached(api.Bond.get_master(bond)) is True
    assert all(record["currently_attached"] for record in api.PBD.get_all_records().values())
