"""Disk images of our own SRs: qcow2 headers and bitmaps, sparse raw files."""

__all__: list[str] = []
