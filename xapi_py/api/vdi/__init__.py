"""Messages of class VDI."""

__all__: list[str] = []
