"""A hypervisor made of files and timers: complete VM life cycles without Xen."""

__all__: list[str] = []
