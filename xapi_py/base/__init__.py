"""The leaf library: names, errors, configuration, undo, framed RPC and daemon bootstrap."""

__all__: list[str] = []
