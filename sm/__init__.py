"""The storage daemon: SRs, VDIs and their data paths."""

__all__: list[str] = []
