"""Messages of class host, one module a concern."""

__all__: list[str] = []
