"""Starting, watching and stopping all daemons of a development pool."""

__all__: list[str] = []
