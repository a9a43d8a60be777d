"""Releases of the product line: codenames, API versions, schema versions."""

import dataclasses

from xapi_py.datamodel._generated.release_table import RELEASES, XENCENTER_PLATFORM_THRESHOLDS

__all__ = ["ORDER", "Release", "XENCENTER_PLATFORM_THRESHOLDS", "by_code"]


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """A release; ``code`` is empty for a skipped API version.

    ``schema`` and ``date`` are empty where not recorded.
    """

    code: str
    api: str
    branding: str
    date: str = ""
    schema: str = ""


ORDER: tuple[Release, ...] = tuple(Release(**row) for row in RELEASES)
"""All releases, oldest first."""


def by_code(code: str) -> Release:
    """Give the release of a codename; ``KeyError`` if there is none."""
    for release in ORDER:
        if release.code == code:
            return release
    raise KeyError(code)
