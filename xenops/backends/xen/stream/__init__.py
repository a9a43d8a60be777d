"""Guest memory to and from images and other hosts."""

__all__: list[str] = []
