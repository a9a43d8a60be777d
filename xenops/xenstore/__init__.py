"""A client of xenstored, the tree of small values that domains and tools share."""

__all__: list[str] = []
