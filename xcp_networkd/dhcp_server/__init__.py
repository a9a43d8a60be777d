"""A DHCP server with fixed leases, for the network between a host and its own guests."""

__all__: list[str] = []
