"""Feature keys of licences: host.license_params and pool.restrictions."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from xapi_py.datamodel._generated.license_table import LICENSE

DEFAULT_EDITION: str = LICENSE["edition_without_licensing_daemon"]
DEFAULT_LICENSE_SERVER: Mapping[str, str] = LICENSE["host_license_server_default"]
EDITIONS_KNOWN_TO_XENCENTER: tuple[str, ...] = tuple(LICENSE["editions_known_to_xencenter"])


@dataclasses.dataclass(frozen=True, slots=True)
class Feature:
    """A feature key.

    ``positive`` keys allow when "true", the others forbid when "true".
    ``xencenter_default`` is what XenCenter 7.1 assumes when the key is
    missing, ``None`` if it does not read it.
    """

    key: str
    positive: bool
    xencenter_default: str | None

    def value(self, *, allowed: bool) -> str:
        """Give the text of the key for an allowed or a forbidden feature."""
        return "true" if allowed is self.positive else "false"

    def allows(self, params: Mapping[str, str]) -> bool:
        """Tell whether licence parameters allow the feature; missing forbids."""
        return params.get(self.key) == self.value(allowed=True)


def _feature(key: str, entry: Mapping[str, Any]) -> Feature:
    return Feature(key, entry["sense"] == "positive", entry.get("xencenter"))


def features(profile: str) -> tuple[Feature, ...]:
    """Give the features a profile knows, in the order they are shown."""
    unwanted = "in_7_1" if profile == "7.1" else "only"
    return tuple(_feature(k, e) for k, e in LICENSE["features"].items() if unwanted not in e)


def daemon_features() -> tuple[Feature, ...]:
    """Give the keys XenCenter reads that only a licensing daemon supplies."""
    return tuple(_feature(k, e) for k, e in LICENSE["licensing_daemon_only"].items())


def license_params(profile: str, forbidden: Collection[str] = ()) -> dict[str, str]:
    """Give host.license_params without a licensing daemon.

    Every feature is allowed but those whose keys are in ``forbidden``.
    """
    return {f.key: f.value(allowed=f.key not in forbidden) for f in features(profile)}


def pool_restrictions(
    profile: str, master: Mapping[str, str], others: Sequence[Mapping[str, str]]
) -> dict[str, str]:
    """Work out pool.restrictions from the licence parameters of all hosts.

    A known feature is allowed only when every host allows it.  Other
    ``restrict_`` keys of the master are "true" when any host has "true" or
    lacks the key.
    """
    hosts = [master, *others]
    known = features(profile)
    result = {f.key: f.value(allowed=all(f.allows(h) for h in hosts)) for f in known}
    for key in master:
        if key.startswith("restrict_") and key not in result:
            restricted = any(h.get(key, "true") == "true" for h in hosts)
            result[key] = "true" if restricted else "false"
    return result
