"""Storage drivers that are programs of others: one process a call."""

__all__: list[str] = []
