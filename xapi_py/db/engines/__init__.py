"""Durability engines: memory and sqlite."""

__all__: list[str] = []
