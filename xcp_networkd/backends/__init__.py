"""Network backends."""

__all__: list[str] = []
