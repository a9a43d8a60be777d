"""Messages of class SR."""

__all__: list[str] = []
