"""What happens, in which order, when a server starts."""

__all__: list[str] = []
