"""HTTP/1.1, TLS, routes and listeners on Twisted."""

__all__: list[str] = []
