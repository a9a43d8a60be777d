"""Error codes are constants that check the number of their parameters."""

import pytest

from xapi_py.base.errors import ErrorCode
from xapi_py.datamodel import errors
from xapi_py.datamodel.profiles import load_model


def test_every_code_of_both_profiles_is_a_constant() -> None:
    for code in load_model("all").errors:
        constant = getattr(errors, code)
        assert isinstance(constant, ErrorCode)
        assert constant.code == code


def test_calling_a_code_makes_the_exception() -> None:
    error = errors.VM_BAD_POWER_STATE("OpaqueRef:1", "halted", "running")
    assert error.description == ["VM_BAD_POWER_STATE", "OpaqueRef:1", "halted", "running"]


def test_wrong_number_of_parameters_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        errors.VM_BAD_POWER_STATE("OpaqueRef:1")


def test_undeclared_codes_take_any_parameters() -> None:
    assert errors.VM_IS_SNAPSHOT("OpaqueRef:1", "start").params == ("OpaqueRef:1", "start")


def test_storage_failures_carry_the_number_in_the_code() -> None:
    error = errors.storage_failure(46, "The VDI is not available", "in use")
    assert error.description == [
        "SR_BACKEND_FAILURE_46",
        "",
        "The VDI is not available",
        "in use",
    ]


def test_storage_error_names() -> None:
    assert errors.storage_error_name(453) == "TapdiskFailed"
    assert errors.storage_error_name(99999) is None
