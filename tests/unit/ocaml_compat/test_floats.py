"""Floats as OCaml writes them."""

import pytest

from ocaml_compat.floats import string_of_float


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"),
        (-0.0, "-0."),
        (3.0, "3."),
        (1e-7, "1e-07"),
        (1e20, "1e+20"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
    ],
)
def test_floats_have_a_point_or_an_exponent(number: float, text: str) -> None:
    assert string_of_float(number) == text
