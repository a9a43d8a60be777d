"""Writes cpio archives of the "newc" kind, what Linux takes as its first file system."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAGIC = b"070701"
DIRECTORY, REGULAR, LINK, CHARACTER = 0o040000, 0o100000, 0o120000, 0o020000


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


def archive(content: Mapping[str, File | Link]) -> bytes:
    """Pack files by path (no leading slash); their folders are made.  Equal input, equal bytes."""
    parts = []
    number = 0
    for number, (path, mode, data, device) in enumerate(_entries(content), 1):
        parts.append(_entry(number, path, mode, data, device))
    parts.append(_entry(number + 1, "TRAILER!!!", 0, b"", (0, 0)))
    return b"".join(parts)


def _entries(
    content: Mapping[str, File | Link],
) -> Iterator[tuple[str, int, bytes, tuple[int, int]]]:
    made = {"dev"}
    yield "dev", DIRECTORY | 0o755, b"", (0, 0)
    # Without it the first process has nowhere to write before it mounts /dev.
    yield "dev/console", CHARACTER | 0o600, b"", (5, 1)
    for path, item in sorted(content.items()):
        folders = path.split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            folder = "/".join(folders[:depth])
            if folder not in made:
                made.add(folder)
                yield folder, DIRECTORY | 0o755, b"", (0, 0)
        match item:
            case File(data, mode):
                yield path, REGULAR | mode, data, (0, 0)
            case Link(target):
                yield path, LINK | 0o777, target.encode(), (0, 0)


def _entry(number: int, path: str, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    name = path.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    header = MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
