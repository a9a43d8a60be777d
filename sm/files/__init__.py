"""SRs that keep disks as files in a folder: the blocking code of their worker processes."""

__all__: list[str] = []
