"""What a fresh installation holds, as data values of the records."""

from collections.abc import Mapping
from typing import Any

from xapi_py.datamodel._generated.default_table import DEFAULTS

LIMITS: Mapping[str, int] = DEFAULTS["limits"]
"""How many completed tasks, sessions and messages are kept."""

BODY_BYTES: Mapping[str, int] = DEFAULTS["body_bytes"]
"""The largest request body by kind: rpc, cli, rrd."""

PORTS: Mapping[str, int] = DEFAULTS["ports"]
"""TCP ports: http, https."""

CONTROL_DOMAIN_CONSOLES: tuple[Mapping[str, Any], ...] = DEFAULTS["consoles_of_control_domain"]
"""Protocol and local port of each console of the control domain."""

USER: Mapping[str, str] = DEFAULTS["user"]
"""The only row of class user."""

MANAGEMENT_NETWORK: Mapping[str, Any] = DEFAULTS["management_network"]
"""The network between a host and its own guests."""

PIF: Mapping[str, Any] = DEFAULTS["PIF"]
"""A physical network interface that is not the management interface."""


def pool(profile: str) -> dict[str, Any]:
    """Give the values of the pool row."""
    return _with_newer("pool", profile)


def host(profile: str) -> dict[str, Any]:
    """Give the values of the host row that do not depend on the machine."""
    return _with_newer("host", profile)


def _with_newer(name: str, profile: str) -> dict[str, Any]:
    newer = DEFAULTS[f"{name}_newest"] if profile != "7.1" else {}
    return {**DEFAULTS[name], **newer}


def control_domain(host_name: str) -> dict[str, Any]:
    """Give the values of the VM row of the control domain of a host."""
    table = DEFAULTS["control_domain"]
    return {"name_label": table["name_label_prefix"] + host_name, **table["values"]}


def device_network(device: str, profile: str, position: int | None = None) -> dict[str, Any]:
    """Give the values of the network a physical interface is put on.

    The newest profile names it by ``position`` where that is known.
    """
    table = DEFAULTS["device_network"]
    label = table["name_label_prefix"] + device
    if profile != "7.1" and position is not None:
        label = f"{table['name_label_prefix_newest']}{position}"
    return {"name_label": label, "bridge": bridge_of(device), **table["values"]}


def bridge_of(device: str) -> str:
    """Name the bridge of a physical interface: eth0 has xenbr0."""
    number = device.removeprefix("eth")
    return f"xenbr{number}" if number != device and number.isdigit() else f"br{device}"


def storage(key: str, product_brand: str = "XenServer") -> tuple[dict[str, Any], dict[str, str]]:
    """Give the SR values and device_config of "local", "removable", "dvd" or "tools".

    The local one has neither a type nor a device_config: both depend on the
    machine.  ``product_brand`` names the tools.
    """
    entry = next(e for e in DEFAULTS["SRs"] if e["key"] == key)
    values = dict(entry["values"])
    if "name_label_suffix" in entry:
        label = product_brand + entry["name_label_suffix"]
        description = product_brand + entry["name_description_suffix"]
        values["name_label"], values["name_description"] = label, description
        values["other_config"] = {
            **values["other_config"],
            "i18n-original-value-name_label": label,
            "i18n-original-value-name_description": description,
        }
    return values, dict(entry.get("device_config", {}))
