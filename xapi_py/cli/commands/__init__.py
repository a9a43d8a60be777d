"""The commands with code of their own, by what they are about."""

__all__: list[str] = []
