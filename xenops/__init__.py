"""The domain daemon: plans VM operations as atoms and runs them on a backend."""

__all__: list[str] = []
