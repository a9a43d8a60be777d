"""Pure functions over a database view: rules, placement, memory, plans."""

__all__: list[str] = []
