"""The Linux bridge backend: the kernel's bridges, VLAN devices and bonds."""

__all__: list[str] = []
