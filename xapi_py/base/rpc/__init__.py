"""Length-prefixed JSON-RPC 2.0 between the daemons of one host."""

__all__: list[str] = []
