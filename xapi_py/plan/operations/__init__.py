"""Which operations an object's state allows, class by class, and why not."""

__all__: list[str] = []
