"""Messages of class pool, one module a concern."""

__all__: list[str] = []
