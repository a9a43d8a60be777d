"""Messages about updates, clusters, drivers, secrets and resets on a pool of one host."""

from pathlib import Path

import pytest
import pytest_twisted

from tests.unit.api.server import Server
from tests.unit.api.services import NOBODY, Services


@pytest.fixture
def server(tmp_path: Path) -> Services:
    return Services(tmp_path)


def test_a_cluster_needs_a_stack_that_is_there(server: Services) -> None:
    pif, network = server.pif("eth0"), server.network()
    assert server.refusal("Cluster.create", NOBODY, "corosync", True, 20.0, 1.0) == [
        "HANDLE_INVALID",
        "PIF",
        NOBODY,
    ]
    assert server.refusal("Cluster.create", pif, "corosync", True, 0.5, 1.0) == [
        "INVALID_VALUE",
        "token_timeout",
        "0.5",
    ]
    server.put("PIF", pif, currently_attached=True, disallow_unplug=False)
    create = ("Cluster.create", pif, "corosync", True, 20.0, 1.0)
    assert server.refusal(*create) == ["PIF_ALLOWS_UNPLUG", pif]
    server.put("PIF", pif, disallow_unplug=True)
    assert server.refusal(*create) == ["INVALID_CLUSTER_STACK", "corosync"]
    server.put("PIF", pif, currently_attached=False)
    assert server.refusal(*create) == ["REQUIRED_PIF_IS_UNPLUGGED", pif]
    pool_create = server.refusal("Cluster.pool_create", network, "corosync", 20.0, 1.0)
    assert pool_create == ["INVALID_CLUSTER_STACK", "corosync"]
    assert server.db.count("Cluster") == 0


def test_updates_are_refused_with_their_reason(server: Services) -> None:
    assert server.refusal("host.apply_updates", server.here, "") == ["NO_REPOSITORY_ENABLED"]
    repository = server.make("Repository", name_label="updates")
    server.put("pool", server.this_pool, repositories=(repository,))
    refused = server.refusal("host.apply_updates", server.here, "hash")
    assert refused == ["UPDATEINFO_HASH_MISMATCH"]
    vdi = server.vdi(server.sr("NFS virtual disk storage"))
    assert server.refusal("pool_update.introduce", vdi)[0] == "INVALID_UPDATE"
    server.do("pool_update.resync_host", server.here)
    server.do("host.rescan_drivers", server.here)
    server.do("Host_driver.rescan", server.here)
    assert server.refusal("Host_driver.rescan", NOBODY) == ["HOST_OFFLINE", NOBODY]


def test_diagnostics_name_who_holds_which_disk(server: Services) -> None:
    sr = server.sr("NFS virtual disk storage")
    names = {
        "sr": server.db.row("SR", sr).uuid,
        "vdi": server.db.row("VDI", server.vdi(sr)).uuid,
        "dp": "stuck",
    }
    server.daemon("VDI.attach2", **names, vm="0", read_write=True)
    text = server.do("host.get_sm_diagnostics", server.here)
    assert f"    SR {names['sr']}\n        VDI {names['vdi']} Attached by stuck" in text
    server.do("host.sm_dp_destroy", server.here, "stuck", False)
    assert "stuck" not in server.do("host.get_sm_diagnostics", server.here)


def test_a_network_reset_leaves_no_interface_behind(server: Services) -> None:
    network = server.network()
    server.do("VLAN.create", server.pif("eth1"), "7", network)
    server.do("host.reset_networking", server.here)
    assert [server.db.count(cls) for cls in ("PIF", "VLAN", "PIF_metrics")] == [0, 0, 0]
    assert server.db.find("network", network) is not None


@pytest_twisted.ensureDeferred
async def test_a_rotated_secret_is_kept_and_the_old_one_is_void(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.call("session.slave_login", server.this_host, "a/b/c")
    await server.send("pool.rotate_secret", server.login())
    secret = (tmp_path / "ptoken").read_text().strip()
    assert server.toolstack.settings.pool_secret == secret != "a/b/c"
    assert server.call("session.slave_login", server.this_host, secret)
    assert server.refusal("session.slave_login", server.this_host, "a/b/c")


def test_records_of_updates_go_with_their_disk_unless_a_host_has_them(server: Services) -> None:
    vdi = server.vdi(server.sr("NFS virtual disk storage"))
    update = server.make("pool_update", name_label="u", vdi=vdi, hosts=(server.here,))
    assert server.refusal("pool_update.pool_apply", update) == [
        "UPDATE_ALREADY_APPLIED_IN_POOL",
        update,
    ]
    assert server.refusal("pool_update.destroy", update) == ["UPDATE_IS_APPLIED"]
    server.put("pool_update", update, hosts=())
    assert server.refusal("pool_update.pool_apply", update)[0] == "INVALID_UPDATE"
    assert server.refusal("pool_update.attach", update)[0] == "INVALID_UPDATE"
    server.do("pool_update.detach", update)
    patch = server.make("pool_patch", name_label="p", pool_update=update)
    held = server.make("host_patch", pool_patch=patch, host=server.here, applied=True)
    for call in (("pool_patch.precheck", patch, server.here), ("host_patch.apply", held)):
        assert server.refusal(*call)[0] == "PATCH_ALREADY_APPLIED"
    for call in (("pool_patch.destroy", patch), ("host_patch.destroy", held)):
        assert server.refusal(*call) == ["PATCH_IS_APPLIED"]
    server.put("host_patch", held, applied=False)
    assert server.refusal("pool_patch.apply", patch, server.here)[0] == "PATCH_APPLY_FAILED"
    assert server.refusal("pool_patch.pool_apply", patch)[0] == "PATCH_APPLY_FAILED"
    server.do("pool_patch.clean_on_host", patch, server.here)
    server.do("pool_patch.clean", patch)
    assert server.db.find("VDI", vdi) is None
    server.do("pool_patch.destroy", patch)
    counts = [server.db.count(cls) for cls in ("pool_update", "pool_patch", "host_patch")]
    assert counts == [0, 0, 0]
