"""The Open vSwitch backend."""

__all__: list[str] = []
