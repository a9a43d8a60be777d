"""Devices of real domains: what is in xenstore, and how they come and go."""

__all__: list[str] = []
