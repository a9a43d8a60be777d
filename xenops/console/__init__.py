"""Consoles of guests: screens over RFB, and terminals."""

__all__: list[str] = []
