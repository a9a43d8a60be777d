"""Task records of running and finished calls."""

__all__: list[str] = []
