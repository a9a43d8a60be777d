"""Pool roles, host gateways and forwarding."""

__all__: list[str] = []
