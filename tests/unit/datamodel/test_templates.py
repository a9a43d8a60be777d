"""Built-in templates become complete VM values."""

from xml.etree import ElementTree

import pytest

from xapi_py.datamodel.profiles import load_model
from xapi_py.datamodel.templates import TemplateSpec, builtin, disks_xml

GIB = 2**30


def template(profile: str, label: str) -> TemplateSpec:
    return next(t for t in builtin(profile) if t.name_label == label)


def test_number_of_templates() -> None:
    assert len(builtin("7.1")) == 84
    assert len(builtin("newest")) == 49


@pytest.mark.parametrize("profile", ["7.1", "newest"])
def test_values_are_fields_and_hold_all_required_ones(profile: str) -> None:
    fields = load_model("7.1" if profile == "7.1" else "newest").classes["VM"].fields
    required = {f.name for f in fields.values() if f.required}
    for spec in builtin(profile):
        values = spec.vm_values("seed")
        assert values.keys() <= fields.keys()
        assert required <= values.keys()
        assert values["other_config"]["mac_seed"] == "seed"
        assert "mac_seed" not in spec.fields["other_config"]


@pytest.mark.parametrize("profile", ["7.1", "newest"])
def test_uuids_are_unique(profile: str) -> None:
    uuids = [t.uuid for t in builtin(profile)]
    assert len(set(uuids)) == len(uuids)


def test_template_of_7_1() -> None:
    spec = template("7.1", "CentOS 7")
    assert spec.fields["memory_static_max"] == spec.fields["memory_dynamic_min"] == 2 * GIB
    assert spec.fields["memory_static_min"] == GIB
    assert spec.fields["other_config"]["default_template"] == "true"
    assert "is_default_template" not in spec.fields
    assert spec.fields["HVM_boot_params"] == {"order": "cdn"}


def test_newest_marks_defaults_by_field_and_knows_the_domain_type() -> None:
    spec = template("newest", "CentOS 6 (64-bit)")
    assert spec.fields["is_default_template"]
    assert "default_template" not in spec.fields["other_config"]
    assert spec.fields["domain_type"] == "pv_in_pvh"
    assert template("newest", "AlmaLinux 8").fields["domain_type"] == "hvm"


def test_recommendations() -> None:
    root = ElementTree.fromstring(template("7.1", "CentOS 7").recommendations)
    assert root.tag == "restrictions"
    assert [e.attrib for e in root] == [
        {"field": "has-vendor-device", "value": "false"},
        {"field": "memory-static-max", "max": str(1536 * GIB)},
        {"field": "vcpus-max", "max": "32"},
        {"property": "number-of-vbds", "max": "255"},
        {"property": "number-of-vifs", "max": "7"},
        {"field": "allow-gpu-passthrough", "value": "1"},
        {"field": "allow-vgpu", "value": "1"},
    ]


def test_disks_begin_with_the_root_element_and_have_all_attributes() -> None:
    assert disks_xml(((24 * GIB, False), (8 * GIB, True))) == (
        '<provision><disk device="0" size="25769803776" sr="" bootable="false" type="system"/>'
        '<disk device="1" size="8589934592" sr="" bootable="true" type="system"/></provision>'
    )


def test_template_without_disks_has_no_disks_key() -> None:
    bare = [t for t in builtin("7.1") if not t.disks_xml]
    assert len(bare) == 1
    assert "disks" not in bare[0].fields["other_config"]
