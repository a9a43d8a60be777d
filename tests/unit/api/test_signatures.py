"""Every registered function takes what its message carries, in both profiles."""

import inspect
from typing import Any

import pytest

from xapi_py.api import registry
from xapi_py.api.dispatch import newer_defaults
from xapi_py.datamodel.profiles import load_model


@pytest.mark.parametrize("profile", ["7.1", "newest"])
def test_functions_fit_their_messages(profile: Any) -> None:
    messages = load_model(profile).messages
    misfits = []
    for name, registration in registry.load_all().items():
        message = messages.get(name)
        if message is None or message.removed:
            continue
        padding = newer_defaults(message)
        try:
            inspect.signature(registration.handler).bind(
                None, *(None for _ in message.params), *padding
            )
        except TypeError as error:
            misfits.append(f"{name}: {error}")
    assert not misfits


def test_every_registered_function_belongs_to_a_message() -> None:
    known = {n for profile in ("7.1", "newest") for n in load_model(profile).messages}
    assert set(registry.load_all()) <= known
