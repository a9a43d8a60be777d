"""Every message's function takes what clients of each profile may send."""

import inspect

import pytest

from xapi_py.api import registry
from xapi_py.datamodel.profiles import load_model


@pytest.mark.parametrize("profile", ["7.1", "newest"])
def test_functions_take_the_parameters_of_their_messages(profile: str) -> None:
    registered = registry.load_all()
    wrong = {}
    for name, message in load_model(profile).messages.items():  # type: ignore[arg-type]
        if name not in registered:
            continue
        signature = inspect.signature(registered[name].handler)
        try:
            signature.bind("call", *message.params)
        except TypeError as problem:
            wrong[name] = str(problem)
    assert wrong == {}
