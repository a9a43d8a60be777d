"""The backend contract on the Xen hypervisor."""

__all__: list[str] = []
