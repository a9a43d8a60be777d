"""XML-RPC and JSON-RPC dialects and record fragments."""

__all__: list[str] = []
