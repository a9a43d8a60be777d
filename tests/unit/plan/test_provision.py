"""Disks and recommendations XML."""

import pytest

from xapi_py.base.errors import ApiError
from xapi_py.plan import provision
from xapi_py.plan.provision import DiskSpec

DISKS = (
    '<provision><disk device="0" size="25769803776" sr="" bootable="true" type="system"/>'
    "</provision>"
)


def test_disks_survive_the_round_trip() -> None:
    disks = provision.parse_disks(DISKS)
    assert disks == (DiskSpec("0", 25769803776, "", True, "system"),)
    assert provision.write_disks(disks) == DISKS


def test_no_disks_asked_for() -> None:
    assert provision.parse_disks(" ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "<provision>",
        "<other/>",
        '<provision><disk device="0"/></provision>',
        '<provision><disk device="0" size="x"/></provision>',
        '<provision><disk device="0" size="-1"/></provision>',
        '<!DOCTYPE p [<!ENTITY a "b">]><provision>&a;</provision>',
    ],
)
def test_bad_disks_documents_are_refused(text: str) -> None:
    with pytest.raises(ApiError, match="INTERNAL_ERROR"):
        provision.parse_disks(text)


def test_recommendations() -> None:
    found = provision.parse_recommendations(
        '<restrictions><restriction field="memory-static-max" max="17179869184"/>'
        '<restriction field="vcpus-max" max="16"/>'
        '<restriction property="number-of-vbds" max="255"/>'
        '<restriction field="has-vendor-device" value="true"/></restrictions>'
    )
    assert found.memory_static_max_bytes == 17179869184
    assert (found.vcpus_max, found.vbds_max, found.vifs_max) == (16, 255, None)
    assert found.says("has-vendor-device")
    assert not found.says("supports-uefi")


@pytest.mark.parametrize("text", ["", "<", "<!DOCTYPE x><restrictions/>"])
def test_unreadable_recommendations_recommend_nothing(text: str) -> None:
    assert provision.parse_recommendations(text) == provision.Recommendations()
