"""Every message of both profiles has code, or is listed as open with its error."""

import pytest

from xapi_py.api import registry
from xapi_py.api.implicit import implicit_kinds
from xapi_py.datamodel.profiles import load_model
from xapi_py.datamodel.unimplemented import ERROR_OF, UNIMPLEMENTED

PROFILES = ("7.1", "newest")
LIFE_CYCLE_CLASSES = frozenset({"VBD", "VIF", "VDI", "SR", "PBD", "network", "console", "VM"})
"""Classes whose every message works: nothing of them may be listed."""


def answered(profile: str) -> set[str]:
    """Give the messages of a profile that a function or a rule answers."""
    handlers, kinds = registry.load_all(), implicit_kinds()
    return {
        name
        for name, message in load_model(profile).messages.items()  # type: ignore[arg-type]
        if name in handlers or message.removed or message.implicit in kinds
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_every_message_is_answered_or_listed(profile: str) -> None:
    every = set(load_model(profile).messages)  # type: ignore[arg-type]
    assert sorted(every - answered(profile) - UNIMPLEMENTED) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_answered_is_listed(profile: str) -> None:
    assert sorted(answered(profile) & UNIMPLEMENTED) == []


def test_every_listed_message_exists_and_has_an_error() -> None:
    every = {name for profile in PROFILES for name in load_model(profile).messages}  # type: ignore[arg-type]
    assert sorted(UNIMPLEMENTED - every) == []
    codes = {"NOT_IMPLEMENTED", "MESSAGE_REMOVED", "MESSAGE_METHOD_UNKNOWN"}
    assert set(ERROR_OF.values()) <= codes


def test_nothing_of_the_life_cycle_is_listed() -> None:
    listed = {name for name in UNIMPLEMENTED if name.partition(".")[0] in LIFE_CYCLE_CLASSES}
    assert sorted(listed) == []
