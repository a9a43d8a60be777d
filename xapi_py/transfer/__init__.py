"""Disk and VM streams over HTTP, blobs and consoles."""

__all__: list[str] = []
