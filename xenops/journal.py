"""A small store of named values that outlives the process: an append-only file.

Each change is one line: the key, a tab, the length of the value in bytes, a tab
and the JSON of the value, nothing for a removal.  What ``put`` has written
survives the death of the process, not the loss of power: neither do domains.
"""

import logging
import os
from io import FileIO
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

SLACK_BYTES: Final = 1024 * 1024
"""The file is written anew when it is larger than twice its content and this."""


class Journal:
    """Values by key, in memory and in a file.

    Keys contain no tab and no newline, nor do values: JSON without indentation.
    """

    def __init__(self, path: Path, slack_bytes: int = SLACK_BYTES) -> None:
        self._path = path
        self._slack_bytes = slack_bytes
        self._values: dict[str, bytes] = {}
        self._size = 0
        self._content = 0
        self._torn = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._load()
        self._file = self._rewrite()

    def items(self) -> list[tuple[str, bytes]]:
        """Give all values, the one not changed for longest first."""
        return list(self._values.items())

    def put(self, key: str, value: bytes) -> None:
        """Set a value.  Errors: OSError when it could not be written."""
        before = self._values.get(key)
        if value == before:
            return
        self._append(_line(key, value))
        if before is not None:
            del self._values[key]
            self._content -= len(before)
        self._values[key] = value
        self._content += len(value)

    def remove(self, key: str) -> None:
        """Remove a value; nothing to do when there is none."""
        if key in self._values:
            self._append(_line(key, b""))
            self._content -= len(self._values.pop(key))

    def _append(self, line: bytes) -> None:
        if self._size > 2 * self._content + self._slack_bytes:
            self._file.close()
            self._file = self._rewrite()
        if self._torn:  # a write failed half way: keep its rest apart
            line = b"\n" + line
        self._torn = True
        written = self._file.write(line)
        self._size += written
        if written != len(line):
            raise OSError(f"{self._path}: only {written} of {len(line)} bytes written")
        self._torn = False

    def _load(self) -> None:
        if not self._path.exists():
            return
        for line in self._path.read_bytes().split(b"\n"):
            key, _, rest = line.partition(b"\t")
            length, tab, value = rest.partition(b"\t")
            if not tab or length != b"%d" % len(value):
                if line:
                    log.error("%s: ignoring a torn line of %d bytes", self._path, len(line))
                continue
            name = key.decode(errors="replace")
            self._values.pop(name, None)
            if value:
                self._values[name] = value

    def _rewrite(self) -> FileIO:
        """Write the values only, under the same name at once; give the open file."""
        temporary = Path(f"{self._path}.new")
        content = b"".join(_line(key, value) for key, value in self._values.items())
        temporary.write_bytes(content)
        os.replace(temporary, self._path)
        self._size = len(content)
        self._content = sum(len(v) for v in self._values.values())
        return FileIO(self._path, "ab")


def _line(key: str, value: bytes) -> bytes:
    return b"%s\t%d\t%s\n" % (key.encode(), len(value), value)
