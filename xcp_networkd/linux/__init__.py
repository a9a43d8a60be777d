"""What the Linux backends share: devices, addresses, DHCP, names, hardware."""

__all__: list[str] = []
