"""Storage drivers as they describe themselves: the facts of SM records."""

import dataclasses
from functools import cache
from typing import Any

from xapi_py.datamodel._generated.plugin_table import PLUGINS


@dataclasses.dataclass(frozen=True, slots=True)
class PluginSpec:
    """One storage driver; ``type`` is SR.type and SM.type.

    ``capabilities`` are bare names in order, ``features`` pairs each with its
    version; ``configuration`` are the keys of device_config.
    """

    type: str
    name: str
    vendor: str
    driver_version: str
    required_api_version: str
    capabilities: tuple[str, ...]
    features: tuple[tuple[str, int], ...]
    configuration: tuple[str, ...]


def _spec(row: dict[str, Any]) -> PluginSpec:
    features = tuple(_feature(text) for text in row["capabilities"])
    return PluginSpec(
        type=row["type"],
        name=row["name"],
        vendor=row["vendor"],
        driver_version=row["driver_version"],
        required_api_version=row["required_api_version"],
        capabilities=tuple(name for name, _ in features),
        features=features,
        configuration=tuple(row["configuration"]),
    )


def _feature(text: str) -> tuple[str, int]:
    name, _, version = text.partition("/")
    return name, int(version or 1)


@cache
def plugins(profile: str) -> dict[str, PluginSpec]:
    """Give the drivers of "7.1" or "newest" by type."""
    rows = PLUGINS["v7_1" if profile == "7.1" else "newest"].values()
    return {row["type"]: _spec(row) for row in rows}
