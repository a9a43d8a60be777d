"""The network daemon: bridges, bonds, VLANs and addresses."""

__all__: list[str] = []
