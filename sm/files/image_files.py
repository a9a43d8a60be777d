"""Images as files in a folder, whose headers tell the tree."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sm.files.chains import Node
from sm.files.images import Images
from sm.files.record_log import sync_folder
from sm.images import qcow2

SUFFIXES = (".qcow2", ".raw")
UNFINISHED = ".new"
"""What the names of images end in until they are whole."""


class FileImages(Images):
    """Image files below a folder; what was read is kept while files stay the same.

    An image of a disk in use changes while nobody looks: ``look`` reads anew
    what has another time stamp.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._seen: dict[str, tuple[int, int, int]] = {}

    def path(self, name: str) -> Path:
        """Where the image is; the qcow2 name when it does not exist."""
        raw = self.folder / f"{name}.raw"
        node = self.nodes.get(name)
        if node is not None:
            return raw if node.format == "raw" else self.folder / f"{name}.qcow2"
        return raw if raw.exists() else self.folder / f"{name}.qcow2"

    def look(self) -> None:
        there: set[str] = set()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                name, suffix = os.path.splitext(entry.name)
                if suffix in SUFFIXES:
                    there.add(name)
                    self._look_at(name, suffix, entry.stat())
        for name in self._seen.keys() - there:
            self._forget(name)

    def look_at(self, name: str) -> Node | None:
        for suffix in SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                self._look_at(name, suffix, os.stat(self.folder / f"{name}{suffix}"))
                return self.nodes.get(name)
        self._forget(name)
        return None

    def _look_at(self, name: str, suffix: str, status: os.stat_result) -> None:
        stamp = (status.st_mtime_ns, status.st_size, status.st_blocks)
        if self._seen.get(name) == stamp:
            return
        self.damaged.pop(name, None)
        used = status.st_blocks * 512
        try:
            if suffix == ".raw":
                self.nodes[name] = Node("", status.st_size, used, "raw")
            else:
                self.nodes[name] = self._read(name, used)
        except (qcow2.Qcow2Error, OSError) as problem:
            self.nodes.pop(name, None)
            self.damaged[name] = str(problem)
        self._seen[name] = stamp

    def _read(self, name: str, used: int) -> Node:
        with self.opened(name) as pread:
            header = qcow2.read_header(pread)
            if header.corrupt:
                raise qcow2.Qcow2Error("it is marked as corrupt")
            parent, suffix = os.path.splitext(header.backing_file)
            if header.backing_file and ("/" in parent or suffix not in SUFFIXES):
                raise qcow2.Qcow2Error(f"its parent {header.backing_file!r} is not of this SR")
            blank = qcow2.is_empty(header, pread)
        return Node(parent, header.virtual_size, used, "qcow2", blank)

    def _forget(self, name: str) -> None:
        self._seen.pop(name, None)
        self.nodes.pop(name, None)
        self.damaged.pop(name, None)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[qcow2.Pread]:
        descriptor = os.open(self.folder / f"{name}.qcow2", os.O_RDONLY)
        try:
            yield lambda offset, length: os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def make(
        self, name: str, size: int, parent: str = "", *, raw: bool = False, room: bool = False
    ) -> None:
        path = self.folder / f"{name}{'.raw' if raw else '.qcow2'}"
        unfinished = path.with_name(path.name + UNFINISHED)
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if raw:
                os.ftruncate(descriptor, size)
            else:
                below = self.path(parent)
                backing = (below.name, below.suffix[1:]) if parent else ()
                image = qcow2.empty_image(size, *backing)
                for start in range(0, len(image), qcow2.CLUSTER):
                    piece = image[start : start + qcow2.CLUSTER].rstrip(b"\0")
                    os.pwrite(descriptor, piece, start)
                os.ftruncate(descriptor, qcow2.file_bytes(size))
            os.fsync(descriptor)
            os.rename(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self.look_at(name)

    def sync(self) -> None:
        sync_folder(self.folder)

    def repair(self) -> None:
        for left in self.folder.glob(f"*{UNFINISHED}"):
            left.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        for suffix in SUFFIXES:
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)
        self._forget(name)
