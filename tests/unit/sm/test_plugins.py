from pathlib import Path

import pytest

from sm.plugins import parse_features, plugins
from tests.unit.sm.storage_host import StorageHost


def test_features_drop_the_unknown_and_read_versions() -> None:
    words = ("VDI_CREATE", "VDI_RESET_ON_BOOT/2", "NONSENSE", "VDI_CLONE/0", "VDI_RESIZE/x")
    assert parse_features(words) == {
        "VDI_CREATE": 1,
        "VDI_RESET_ON_BOOT": 2,
        "VDI_CLONE": 1,
        "VDI_RESIZE": 1,
    }


def test_atomic_pause_stands_for_activation() -> None:
    assert parse_features(("ATOMIC_PAUSE",)) == {"VDI_ACTIVATE": 1, "VDI_DEACTIVATE": 1}


def test_profiles_differ_as_the_releases_did() -> None:
    old, new = plugins("7.1"), plugins("newest")
    assert set(old) - set(new) == {"rawhba", "lvmofcoe"}
    assert not old["nfs"].supports("VDI_CONFIG_CBT")
    assert new["nfs"].supports("THIN_PROVISIONING")
    assert not any(p.supports("VDI_RESIZE_ONLINE") for p in new.values())


@pytest.mark.parametrize("profile, count", [("7.1", 15), ("newest", 13)])
def test_query_lists_records(tmp_path: Path, profile: str, count: int) -> None:
    host = StorageHost(tmp_path, profile=profile)
    found = {p["type"]: p for p in host.call("Query.list")}
    assert len(found) == count
    assert found["nfs"]["driver_filename"] == "/opt/xensource/sm/NFSSR"
    assert found["nfs"]["features"]["VDI_RESET_ON_BOOT"] == 2
    assert "device" in found["lvm"]["configuration"]
    assert found["udev"]["required_api_version"] == "1.1"
