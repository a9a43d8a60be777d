"""Licence features become the parameters clients look at."""

from xapi_py.datamodel.license import daemon_features, features, license_params, pool_restrictions


def test_without_a_daemon_every_feature_is_allowed() -> None:
    params = license_params("7.1")
    assert len(params) == 37
    assert params["enable_xha"] == "true"
    assert params["restrict_pooling"] == "false"
    assert "restrict_ssl_legacy_switch" in params
    assert "restrict_vmss" not in params
    assert "restrict_ssl_legacy_switch" not in license_params("newest")


def test_forbidden_features() -> None:
    params = license_params("newest", forbidden=["enable_xha", "platform_filter"])
    assert (params["enable_xha"], params["platform_filter"]) == ("false", "true")


def test_pool_allows_what_every_host_allows() -> None:
    rich, poor = license_params("7.1"), license_params("7.1", ["enable_xha", "restrict_rbac"])
    restrictions = pool_restrictions("7.1", rich, [poor])
    assert restrictions["enable_xha"] == "false"
    assert restrictions["restrict_rbac"] == "true"
    assert restrictions["restrict_dmc"] == "false"


def test_unknown_restrictions_of_the_master_count_as_set_where_missing() -> None:
    master = {**license_params("7.1"), "restrict_cifs": "false", "note": "x"}
    other = license_params("7.1")
    assert pool_restrictions("7.1", master, [])["restrict_cifs"] == "false"
    assert pool_restrictions("7.1", master, [other])["restrict_cifs"] == "true"
    assert "note" not in pool_restrictions("7.1", master, [])


def test_missing_key_forbids() -> None:
    ha = next(f for f in features("7.1") if f.key == "enable_xha")
    assert not ha.allows({})


def test_daemon_features_are_unknown_to_the_toolstack() -> None:
    assert not {f.key for f in daemon_features()} & {f.key for f in features("newest")}
