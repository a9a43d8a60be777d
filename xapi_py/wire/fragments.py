"""A bounded cache of encoded records, shared by listings and events."""

from collections import OrderedDict
from typing import Any, Final

from xapi_py.datamodel.model import ClassDef

DEFAULT_LIMIT_BYTES: Final = 64 * 1024 * 1024
_ENTRY_OVERHEAD: Final = 200


class FragmentCache:
    """Encoded records by reference, each for one generation of its row.

    An entry of an older generation is replaced.  Beyond the limit the entry
    unused for longest goes first, but a listing that does not fit leaves the
    entries alone: it would push out all of them for nothing.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[str, tuple[int, object, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, row: Any, class_def: ClassDef) -> bytes | None:
        """Give the fragment of a row's present generation, if it is here."""
        entry = self._entries.get(row.ref)
        if entry is None or entry[0] != row.modified or entry[1] is not class_def:
            return None
        self._entries.move_to_end(row.ref)
        return entry[2]

    def put(self, row: Any, class_def: ClassDef, fragment: bytes, *, listing: bool = False) -> None:
        """Keep a fragment; part of a ``listing`` it is kept only where it fits."""
        size = len(fragment) + _ENTRY_OVERHEAD
        old = self._entries.pop(row.ref, None)
        if old is not None:
            self.used_bytes -= len(old[2]) + _ENTRY_OVERHEAD
        if size > self.limit_bytes or (listing and self.used_bytes + size > self.limit_bytes):
            return
        self._entries[row.ref] = (row.modified, class_def, fragment)
        self.used_bytes += size
        while self.used_bytes > self.limit_bytes:
            _, (_, _, dropped) = self._entries.popitem(last=False)
            self.used_bytes -= len(dropped) + _ENTRY_OVERHEAD

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.used_bytes = 0
