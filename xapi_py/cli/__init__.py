"""The server half of ``xe``: commands, tables, output."""

__all__: list[str] = []
