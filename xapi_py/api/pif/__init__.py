"""Messages of class PIF."""

__all__: list[str] = []
