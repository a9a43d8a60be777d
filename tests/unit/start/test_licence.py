"""What a simulated licence leaves out."""

import pytest

from xapi_py.base.config import ConfigError
from xapi_py.start.identity import forbidden_features, host_license_params


def test_everything_is_granted_by_default() -> None:
    params = host_license_params("7.1", "7.1.0", forbidden_features({}, "7.1"))
    assert (params["enable_xha"], params["restrict_checkpoint"]) == ("true", "false")


def test_a_forbidden_feature_is_shown_as_such_whatever_the_sense_of_its_key() -> None:
    section = {"forbidden_features": ["enable_xha", "restrict_checkpoint"]}
    params = host_license_params("7.1", "7.1.0", forbidden_features(section, "7.1"))
    assert (params["enable_xha"], params["restrict_checkpoint"]) == ("false", "true")


@pytest.mark.parametrize("listed", ["enable_xha", ["no_such_feature"], 5])
def test_a_mistake_in_the_list_is_named(listed: object) -> None:
    with pytest.raises(ConfigError, match="forbidden_features"):
        forbidden_features({"forbidden_features": listed}, "7.1")
