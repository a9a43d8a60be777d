"""Xen's C libraries, called from Python: ``Xen`` and ``Builder`` give plain values.

Nothing above this package sees a pointer.
"""

__all__: list[str] = []
