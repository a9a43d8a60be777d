"""What travels: XML-RPC and JSON-RPC requests, values and answers."""

__all__: list[str] = []
