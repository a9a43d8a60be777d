"""Floats as OCaml writes them."""


def string_of_float(number: float) -> str:
    """Write a float as ``string_of_float`` does: 12 digits, a point where none is.

    ``1.0`` is ``1.``, ``-0.0`` is ``-0.``; not-a-number and the infinities are
    ``nan``, ``inf`` and ``-inf``.
    """
    text = f"{number:.12g}"
    return f"{text}." if text.lstrip("-").isdecimal() else text
