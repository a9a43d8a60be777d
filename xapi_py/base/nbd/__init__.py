"""The network block device protocol: its messages and a client."""

__all__: list[str] = []
