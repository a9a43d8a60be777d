"""Samples, archives and their HTTP answers."""

__all__: list[str] = []
