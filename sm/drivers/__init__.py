"""One module for each SR type."""

__all__: list[str] = []
