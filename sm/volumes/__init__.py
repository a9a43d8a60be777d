"""Disks in logical volumes, and the block devices under them: local, iSCSI, FC, FCoE."""

__all__: list[str] = []
