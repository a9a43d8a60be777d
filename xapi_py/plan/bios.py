"""BIOS strings a guest sees: generic values and the checks of custom ones."""

from collections.abc import Mapping

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err

GENERIC: Mapping[str, str] = {
    "bios-vendor": "Xen",
    "bios-version": "",
    "system-manufacturer": "Xen",
    "system-product-name": "HVM domU",
    "system-version": "",
    "system-serial-number": "",
    "baseboard-manufacturer": "",
    "baseboard-product-name": "",
    "baseboard-version": "",
    "baseboard-serial-number": "",
    "baseboard-asset-tag": "",
    "baseboard-location-in-chassis": "",
    "enclosure-asset-tag": "",
    "hp-rombios": "",
    "oem-1": "Xen",
    "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
}
SETTABLE = frozenset(GENERIC) - {"hp-rombios", "oem-1", "oem-2"}
MAX_LENGTH = 512


def for_start(current: Mapping[str, str]) -> Mapping[str, str]:
    """Give the strings to start with: the VM's own, or the generic ones."""
    return current or GENERIC


def setting_error(current: Mapping[str, str], wanted: Mapping[str, str]) -> ApiError | None:
    """Check VM.set_bios_strings.

    Errors: VM_BIOS_STRINGS_ALREADY_SET, INVALID_VALUE for a key that is not
    settable or a value that is not 1..512 printable ASCII characters.
    """
    if current:
        return err.VM_BIOS_STRINGS_ALREADY_SET()
    for key, value in wanted.items():
        if key not in SETTABLE:
            return err.INVALID_VALUE(key, "Unknown key")
        printable = value.isascii() and value.isprintable()
        if not (1 <= len(value) <= MAX_LENGTH and printable):
            return err.INVALID_VALUE(key, value)
    return None


def completed(wanted: Mapping[str, str]) -> dict[str, str]:
    """Give the full set to store: the wanted strings over the generic ones."""
    return {**GENERIC, **wanted}
