"""The kernel's routing netlink protocol, as far as this daemon speaks it."""

__all__: list[str] = []
