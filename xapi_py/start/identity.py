"""What a host says about itself: versions, capabilities, licence, processors.

Pure: from what the hypervisor reports and the profile to record values.
Sources: facts/defaults.yaml, briefs POOL 1.3 and XENCENTER 2.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xapi_py.base.config import ConfigError
from xapi_py.datamodel.license import daemon_features, features, license_params
from xapi_py.datamodel.model import Model


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the domain daemon reports of its host.  Memory in bytes."""

    memory_total: int
    memory_free: int
    control_domain_memory: int
    cpu: Mapping[str, str]
    hypervisor: Mapping[str, str]
    chipset: Mapping[str, str]
    bios: Mapping[str, str] = field(default_factory=dict)
    boot_time: int = 0
    control_domain_vcpus: int = 0
    pcis: Sequence[Mapping[str, str]] = ()
    memory_overhead: int = 0


@dataclass(frozen=True, slots=True)
class Versions:
    """The release a profile presents."""

    product_version: str
    product_version_text: str
    platform_version: str
    xencenter_min: str
    xencenter_max: str
    date: str


VERSIONS: Mapping[str, Versions] = {
    "7.1": Versions("7.1.0", "7.1", "2.2.0", "2.5", "2.6", "2017-02-07"),
    "newest": Versions("8.4.0", "8", "3.4.0", "2.23", "2.23", "2026-08-01"),
}

BRAND = "XenServer"
LICENCE_EXPIRY = "20991231T23:59:59Z"
"""Our default edition grants everything and does not end."""


def software_version(
    model: Model, hostname: str, facts: HostFacts, network_backend: str
) -> dict[str, str]:
    """Give host.software_version; XenCenter compares the brand and the versions."""
    versions = VERSIONS[model.profile]
    values = {
        "product_version": versions.product_version,
        "product_version_text": versions.product_version_text,
        "product_version_text_short": versions.product_version_text,
        "platform_name": "XCP",
        "platform_version": versions.platform_version,
        "product_brand": BRAND,
        "xapi": ".".join(str(n) for n in model.api_version),
        "build_number": "0",
        "git_id": "xapi-py",
        "hostname": hostname,
        "date": versions.date,
        "dbv": versions.date[:4] + ".0101",
        "xen": facts.hypervisor.get("version", ""),
        "linux": facts.hypervisor.get("linux", ""),
        "xencenter_min": versions.xencenter_min,
        "xencenter_max": versions.xencenter_max,
        "network_backend": network_backend,
        "db_schema": ".".join(str(n) for n in model.schema_version),
    }
    if model.profile != "7.1":
        values["xapi_build"] = "0.1.0"
    return {key: value for key, value in values.items() if value}


def capabilities(facts: HostFacts) -> tuple[str, ...]:
    """Give host.capabilities, the words of the hypervisor."""
    return tuple(facts.hypervisor.get("caps", "").split())


def cpu_info(facts: HostFacts, profile: str) -> dict[str, str]:
    """Give host.cpu_info with the keys that clients read."""
    cpu = facts.cpu
    flags = cpu.get("flags", "")
    features_text = cpu.get("features", "")
    info = {
        "cpu_count": cpu.get("cpu_count", "1"),
        "socket_count": cpu.get("socket_count", "1"),
        "vendor": cpu.get("vendor", ""),
        "speed": cpu.get("speed", ""),
        "modelname": cpu.get("modelname", ""),
        "family": cpu.get("family", ""),
        "model": cpu.get("model", ""),
        "stepping": cpu.get("stepping", ""),
        "flags": flags,
        "features": features_text,
        "features_pv": cpu.get("features_pv", features_text),
        "features_hvm": cpu.get("features_hvm", features_text),
    }
    if profile != "7.1":
        info["features_pv_host"] = info["features_pv"]
        info["features_hvm_host"] = info["features_hvm"]
        info["threads_per_core"] = cpu.get("threads_per_core", "1")
        info["nr_nodes"] = cpu.get("nr_nodes", "1")
    return info


def forbidden_features(section: Mapping[str, object], profile: str) -> frozenset[str]:
    """Read which features a simulated licence leaves out: ``forbidden_features`` of ``xapi``.

    Errors: ConfigError for what is no list of feature keys.
    """
    listed = section.get("forbidden_features", [])
    known = {feature.key for feature in (*features(profile), *daemon_features())}
    if not isinstance(listed, list) or not known.issuperset(listed):
        raise ConfigError(f"xapi: forbidden_features: {listed!r} is no list of feature keys")
    return frozenset(listed)


def host_license_params(
    profile: str, product_version: str, forbidden: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Give host.license_params: every feature granted but those forbidden, no end.

    XenCenter requires ``expiry`` in exactly this form.  Source: XENCENTER 2.2 C4.
    """
    return {
        **license_params(profile, forbidden),
        **{f.key: f.value(allowed=f.key not in forbidden) for f in daemon_features()},
        "expiry": LICENCE_EXPIRY,
        "sku_type": "xapi-py",
        "sku_marketing_name": "xapi-py",
        "version": product_version,
        "license_type": "xapi-py",
    }
