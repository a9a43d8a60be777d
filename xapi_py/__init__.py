"""A XenAPI-compatible toolstack: the API server and everything only it needs."""

__all__: list[str] = []
