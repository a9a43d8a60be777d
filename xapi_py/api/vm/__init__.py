"""Messages of class VM, one module per group of them."""

__all__: list[str] = []
