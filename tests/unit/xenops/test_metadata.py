"""Metadata pushed by the API server."""

import pytest

from tests.unit.xenops.factories import make_md
from xapi_py.base.rpc.errors import RpcError
from xenops import metadata


def test_metadata_survives_the_wire() -> None:
    md = make_md(platformdata={"acpi": "1"}, hvm={"boot_order": "dc"})
    assert metadata.parse(metadata.to_dict(md)) == md


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"vcpus": 3}, "vcpus must be between"),
        ({"vcpus": 0}, "vcpus must be between"),
        ({"memory_dynamic_min": 1 << 40}, "not in order"),
        ({"ty": "LXC"}, "vm: ty: expected one of"),
        ({"on_crash": ["Explode"]}, "on_crash[0]"),
        ({"colour": "red"}, "unknown member 'colour'"),
        ({"name": 7}, "vm: name: expected str, got 7"),
    ],
)
def test_a_member_that_does_not_fit_is_named(change: dict[str, object], text: str) -> None:
    good = metadata.to_dict(make_md())
    bad = good | {"vm": good["vm"] | change}  # type: ignore[operator]
    with pytest.raises(RpcError) as problem:
        metadata.parse(bad)
    assert problem.value.name == "Invalid_metadata"
    assert text in str(problem.value.params[0])


def test_a_device_cannot_occur_twice() -> None:
    disk = {"device": "xvda", "backend": {"path": "/a"}}
    with pytest.raises(RpcError, match="twice"):
        make_md(vbds=[disk, disk])
