"""Provisioning: the disks XML of templates and the recommendations XML."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from xapi_py.datamodel import errors as err

MAX_XML_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """One disk a template asks for; ``sr`` is a uuid or empty (default SR)."""

    device: str
    size_bytes: int
    sr: str
    bootable: bool
    type: str


def _parse(untrusted_text: str) -> ElementTree.Element:
    # Entities have no place in these documents; refusing a DTD keeps the
    # parser away from expansion attacks.
    if len(untrusted_text) > MAX_XML_CHARS or "<!" in untrusted_text.replace("<!--", ""):
        raise ElementTree.ParseError("document type definitions are refused")
    return ElementTree.fromstring(untrusted_text)


def parse_disks(untrusted_text: str) -> tuple[DiskSpec, ...]:
    """Read other_config:disks; an empty text asks for no disks.

    Errors: INTERNAL_ERROR naming what is wrong with the document.
    """
    if not untrusted_text.strip():
        return ()
    try:
        root = _parse(untrusted_text)
    except ElementTree.ParseError as error:
        raise err.INTERNAL_ERROR(f"Failed to parse disks XML: {error}") from None
    if root.tag != "provision":
        raise err.INTERNAL_ERROR(f"Failed to parse disks XML: unexpected element {root.tag}")
    return tuple(_disk(element) for element in root if element.tag == "disk")


def _disk(element: ElementTree.Element) -> DiskSpec:
    attributes = element.attrib
    try:
        size = int(attributes["size"])
        device = attributes["device"]
    except (KeyError, ValueError):
        raise err.INTERNAL_ERROR("Failed to parse disks XML: disk needs device and size") from None
    if size < 0:
        raise err.INTERNAL_ERROR("Failed to parse disks XML: negative size")
    return DiskSpec(
        device,
        size,
        attributes.get("sr", ""),
        attributes.get("bootable", "false").lower() == "true",
        attributes.get("type", "system"),
    )


def write_disks(disks: Iterable[DiskSpec]) -> str:
    """Write other_config:disks: no XML declaration, all five attributes."""
    body = "".join(
        f"<disk device={quoteattr(d.device)} size={quoteattr(str(d.size_bytes))}"
        f" sr={quoteattr(d.sr)} bootable={quoteattr(str(d.bootable).lower())}"
        f" type={quoteattr(d.type)}/>"
        for d in disks
    )
    return f"<provision>{body}</provision>"


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Limits a template suggests; None where it says nothing.

    Servers enforce none of them; they are the client's to show and obey.  The
    fallbacks clients use are 16 vCPUs, 1 TiB, 16 VBDs and 7 VIFs.
    """

    memory_static_max_bytes: int | None = None
    vcpus_max: int | None = None
    vcpus_min: int | None = None
    vbds_max: int | None = None
    vifs_max: int | None = None
    fields: Mapping[str, str] | None = None

    def says(self, field: str) -> bool:
        """Tell whether a field recommendation is affirmative."""
        return (self.fields or {}).get(field, "").lower() in ("true", "1", "yes")


def parse_recommendations(untrusted_text: str) -> Recommendations:
    """Read VM.recommendations; anything unreadable gives no recommendation."""
    try:
        root = _parse(untrusted_text)
    except ElementTree.ParseError:
        return Recommendations()
    numbers: dict[str, int] = {}
    fields: dict[str, str] = {}
    for element in root.iter("restriction"):
        name = element.get("field") or element.get("property") or ""
        for bound in ("max", "min"):
            text = element.get(bound, "")
            if text.isdecimal():
                numbers[f"{name}/{bound}"] = int(text)
        if "value" in element.attrib:
            fields[name] = element.attrib["value"]
    return Recommendations(
        numbers.get("memory-static-max/max"),
        numbers.get("vcpus-max/max"),
        numbers.get("vcpus-min/min"),
        numbers.get("number-of-vbds/max"),
        numbers.get("number-of-vifs/max"),
        fields,
    )


def without_install_keys(other_config: Mapping[str, str]) -> dict[str, str]:
    """Give other_config after provisioning: the disks request is used up."""
    return {key: value for key, value in other_config.items() if key != "disks"}
