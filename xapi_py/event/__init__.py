"""event.from, event.next and their subscriptions."""

__all__: list[str] = []
