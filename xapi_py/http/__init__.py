"""HTTP/1.1 on Twisted: connections, routes, streams, TLS and listeners."""

__all__: list[str] = []
