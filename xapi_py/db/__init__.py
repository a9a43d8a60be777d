"""Rows in memory, indexes, transactions and durable engines."""

__all__: list[str] = []
