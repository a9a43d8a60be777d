"""QEMU's machine protocol: what travels, and a client on a unix socket."""

__all__: list[str] = []
