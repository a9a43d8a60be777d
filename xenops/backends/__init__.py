"""Hypervisor backends."""

__all__: list[str] = []
