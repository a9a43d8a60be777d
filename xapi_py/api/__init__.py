"""One module or folder for each API class."""

__all__: list[str] = []
