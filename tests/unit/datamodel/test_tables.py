"""The smaller tables: defaults, releases, drivers, entry points, alerts."""

import pytest

from xapi_py.datamodel import alerts, defaults, http_handlers, permission_rows, releases
from xapi_py.datamodel.profiles import Profile, load_model
from xapi_py.datamodel.sm_plugins import plugins
from xapi_py.datamodel.unimplemented import ERROR_OF, UNIMPLEMENTED

PROFILES: tuple[Profile, ...] = ("7.1", "newest")


@pytest.mark.parametrize("profile", PROFILES)
def test_default_values_are_fields(profile: Profile) -> None:
    classes = load_model(profile).classes
    assert defaults.pool(profile).keys() <= classes["pool"].fields.keys()
    assert defaults.host(profile).keys() <= classes["host"].fields.keys()
    assert defaults.control_domain("h").keys() <= classes["VM"].fields.keys()
    assert defaults.PIF.keys() <= classes["PIF"].fields.keys()
    network = defaults.device_network("eth0", profile)
    assert network.keys() <= classes["network"].fields.keys()
    for key in ("local", "removable", "dvd", "tools"):
        assert defaults.storage(key)[0].keys() <= classes["SR"].fields.keys()


def test_sets_among_the_defaults_are_tuples() -> None:
    assert defaults.host("7.1")["virtual_hardware_platform_versions"] == (0, 1, 2)


def test_names_of_networks_and_bridges() -> None:
    assert defaults.device_network("eth1", "7.1", position=3)["name_label"].endswith(" eth1")
    assert defaults.device_network("eth1", "newest", position=3)["name_label"].endswith(" 3")
    assert defaults.bridge_of("eth12") == "xenbr12"
    assert defaults.bridge_of("eth") == "breth"
    assert defaults.bridge_of("enp3s0") == "brenp3s0"


def test_tools_storage_is_named_after_the_product() -> None:
    values, config = defaults.storage("tools", "Product")
    assert values["name_label"] == "Product Tools"
    assert values["other_config"]["i18n-original-value-name_label"] == "Product Tools"
    assert config["legacy_mode"] == "true"


def test_releases() -> None:
    assert releases.by_code("ely").api == "2.6"
    assert releases.ORDER[0].code == "rio"
    with pytest.raises(KeyError):
        releases.by_code("nowhere")


def test_storage_drivers() -> None:
    ext = plugins("7.1")["ext"]
    assert "VDI_RESET_ON_BOOT" in ext.capabilities
    assert ("VDI_RESET_ON_BOOT", 2) in ext.features
    assert ("VDI_CREATE", 1) in ext.features
    assert plugins("7.1")["lvm"].name == "Local VHD on LVM"
    assert "lvmoiscsi" in plugins("newest")


def test_longest_path_wins() -> None:
    model = load_model("newest")

    def found(method: str, path: str) -> str | None:
        handler = http_handlers.find_handler(model, method, path)
        return handler.name if handler else None

    assert found("PUT", "/import") == "put_import"
    assert found("PUT", "/import_metadata") == "put_import_metadata"
    assert found("GET", "/services/xenops/x") == "get_services_xenops"
    assert found("GET", "/servicesque") == "get_root"
    assert found("BREW", "/") is None


def test_permission_of_a_sub_action() -> None:
    handler = load_model("7.1").http_handlers["connect_console"]
    assert http_handlers.permission_of(handler) == "http/connect_console"
    assert (
        http_handlers.permission_of(handler, "host_console") == "http/connect_console/host_console"
    )
    assert http_handlers.permission_of(handler, "other") == "http/connect_console"


def test_alert_priorities() -> None:
    model = load_model("7.1")
    assert alerts.priority_of(model, "ALARM") == 1
    assert alerts.priority_of(model, "SOMETHING_ELSE") == 5


def test_uuid_of_a_role_is_made_from_its_name() -> None:
    for role in load_model("newest").roles.values():
        if role.name != "pool-admin":
            assert permission_rows.permission_uuid(role.name) == role.uuid


def test_unimplemented_messages_exist_and_give_a_known_error() -> None:
    everything = load_model("all")
    assert everything.messages.keys() >= UNIMPLEMENTED
    for code in ERROR_OF.values():
        assert code in everything.errors
