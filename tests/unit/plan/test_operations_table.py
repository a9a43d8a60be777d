"""The table of operation rules fits the data model."""

import pytest

from tests.unit.plan.factories import DictView, make_vm
from xapi_py.datamodel.profiles import load_model
from xapi_py.datamodel.value_types import RefOf, SetOf
from xapi_py.plan.operations import table
from xapi_py.plan.operations.table import ENUM_OF_CLASS, OPERATIONS

MODEL = load_model("all")


def test_every_class_with_allowed_operations_has_rules() -> None:
    wanted = {n for n, c in MODEL.classes.items() if "allowed_operations" in c.fields}
    assert set(OPERATIONS) == wanted == set(ENUM_OF_CLASS)


@pytest.mark.parametrize("cls", sorted(OPERATIONS))
def test_dependencies_lead_to_the_class(cls: str) -> None:
    for start, field, path in OPERATIONS[cls].depends:
        assert field in MODEL.classes[start].fields, (start, field)
        at = start
        for step in path:
            kind = MODEL.classes[at].fields[step].type
            kind = kind.element if isinstance(kind, SetOf) else kind
            assert isinstance(kind, RefOf), (start, step)
            at = kind.cls
        assert at == cls, (start, field, path)


@pytest.mark.parametrize("profile", ["7.1", "newest"])
def test_profiles_offer_only_what_they_know(profile: str) -> None:
    enums = load_model(profile).enums  # type: ignore[arg-type]
    rules = table.for_profile(enums)
    view = DictView()
    vm = make_vm(view)
    offered = rules["VM"].allowed(view, vm)
    assert set(offered) <= set(enums["vm_operations"])
    assert ("create_vtpm" in offered) is (profile == "newest")
    assert ("VUSB" in rules) is (profile == "newest")
