"""Messages of class Bond."""

__all__: list[str] = []
