"""Reading a disk from its image files: qcow2 files on top of each other, perhaps above a raw one.

Only while nobody writes to them, which locks see to.  Blocking, for threads.
Source: QEMU, docs/interop/qcow2.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xapi_py.api.disk_data import Extent
from xapi_py.base.image_locks import lock_against_writers
from xapi_py.base.lazy import LazyModule

CACHED_UNITS: Final = 8
_OFFSET: Final = 0x00FFFFFFFFFFFE00
_COMPRESSED: Final = 1 << 62
_NOBODY: Final = -1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Holders = NDArray[np.int8]
    Mask = NDArray[np.bool_]
else:
    np = LazyModule("numpy")
    Numbers = Holders = Mask = Any


class UnreadableImage(OSError):
    """An image has something that only QEMU reads."""


@dataclass(frozen=True, slots=True)
class _Image:
    """``l1`` is empty for a raw image: its clusters are where they are on the disk."""

    file: int
    size: int
    l1: Numbers


@dataclass(frozen=True, slots=True)
class _Unit:
    """The clusters of a part of the disk: who holds each, and where; place 0 for zeros."""

    holder: Holders
    place: Numbers


class ImageSource:
    """A chain of images, the disk's own first, as ``VDI.open_data`` describes them."""

    def __init__(self, images: Sequence[Mapping[str, Any]]) -> None:
        self.size = int(images[0]["size"])
        bits = {int(image["cluster_bits"]) for image in images if image["cluster_bits"]}
        if len(bits) != 1:
            raise UnreadableImage("the images have clusters of several sizes")
        self._cluster = 1 << bits.pop()
        self._per_unit = self._cluster // 8
        self._reach = self._per_unit * self._cluster
        self._units: dict[int, _Unit] = {}
        self._images: list[_Image] = []
        try:
            for image in images:
                self._images.append(self._open(image))
        except BaseException:
            self.close()
            raise
        self._used = self._used_units()

    def _open(self, image: Mapping[str, Any]) -> _Image:
        file = os.open(str(image["path"]), os.O_RDONLY | os.O_CLOEXEC)
        try:
            lock_against_writers(file)
            l1 = np.zeros(0, np.int64)
            if image["cluster_bits"]:
                l1 = _table(file, int(image["l1_offset"]), int(image["l1_entries"])) & _OFFSET
            return _Image(file, int(image["size"]), l1)
        except BaseException:
            os.close(file)
            raise

    def _used_units(self) -> Numbers:
        """Numbers of the units that any image holds something of, ascending."""
        count = -(-self.size // self._reach)
        used = np.zeros(count, bool)
        for image in self._images:
            held = image.l1[:count] != 0
            used[: len(held)] |= held
            if not len(image.l1):
                used[: -(-image.size // self._reach)] = True
        return np.flatnonzero(used)

    def close(self) -> None:
        images, self._images = self._images, []
        for image in images:
            os.close(image.file)

    def abort(self) -> None:
        """A file is not waited for."""

    # -- where things are

    def _unit(self, number: int) -> _Unit:
        found = self._units.get(number)
        if found is None:
            while len(self._units) >= CACHED_UNITS:
                del self._units[next(iter(self._units))]
            found = self._units[number] = self._look_up(number)
        return found

    def _look_up(self, number: int) -> _Unit:
        """Ask each image from the top for what those above do not hold."""
        holder = np.full(self._per_unit, _NOBODY, np.int8)
        place = np.zeros(self._per_unit, np.int64)
        for index, image in enumerate(self._images):
            free = holder == _NOBODY
            if not len(image.l1):
                mine = np.arange(self._per_unit, dtype=np.int64) * self._cluster
                mine += number * self._reach
                held = free & (mine < image.size)
            elif number >= len(image.l1) or not image.l1[number]:
                continue
            else:
                table = _table(image.file, int(image.l1[number]), self._per_unit)
                if (table & _COMPRESSED).any():
                    raise UnreadableImage("an image has compressed clusters")
                mine = np.where(table & 1, 0, table & _OFFSET)
                held = free & ((mine != 0) | (table & 1 != 0))
            holder[held] = index
            place[held] = mine[held]
        return _Unit(holder, place)

    def _is_data(self, unit: _Unit) -> Mask:
        bottom = len(self._images) - 1
        first = _NOBODY if len(self._images[bottom].l1) else bottom  # a raw image's first is at 0
        held: Mask = unit.holder != _NOBODY
        held &= (unit.place != 0) | (unit.holder == first)
        return held

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        return self._runs(start, end, self._is_data)

    def changed(self, start: int, end: int, layers: int) -> Iterator[Extent]:
        def above(unit: _Unit) -> Mask:
            held: Mask = unit.holder != _NOBODY
            held &= unit.holder < layers
            return held

        return self._runs(start, end, above)

    def _runs(self, start: int, end: int, wanted: Any) -> Iterator[Extent]:
        """Give the parts of a range whose clusters are wanted, as long as they are."""
        end = min(end, self.size)
        if start >= end:
            return
        first, last = start // self._reach, (end - 1) // self._reach
        low, high = np.searchsorted(self._used, (first, last + 1))
        pending: Extent | None = None
        for number in self._used[low:high].tolist():
            base = number * self._reach
            edges = np.flatnonzero(np.diff(wanted(self._unit(number)), prepend=False, append=False))
            for one, two in edges.reshape(-1, 2).tolist():
                at = max(start, base + one * self._cluster)
                stop = min(end, base + two * self._cluster)
                if at >= stop:
                    continue
                if pending is not None and sum(pending) == at:
                    pending = (pending[0], stop - pending[0])
                    continue
                if pending is not None:
                    yield pending
                pending = (at, stop - at)
        if pending is not None:
            yield pending

    # -- data

    def read_many(self, wanted: Sequence[Extent]) -> Sequence[bytes | bytearray]:
        return [self._read(offset, length) for offset, length in wanted]

    def _read(self, offset: int, length: int) -> bytes | bytearray:
        segments = list(self._segments(offset, length))
        if len(segments) == 1 and segments[0][0] is not None:
            data = os.pread(segments[0][0].file, length, segments[0][1])
            if len(data) == length:
                return data
        found = bytearray(length)
        view, at = memoryview(found), 0
        for image, place, size in segments:
            if image is not None:  # behind a file's end there are zeros
                os.preadv(image.file, [view[at : at + size]], place)
            at += size
        return found

    def _segments(self, offset: int, length: int) -> Iterator[tuple[_Image | None, int, int]]:
        """Give (image, place in its file, bytes) in order; no image for zeros."""
        end = offset + length
        held: tuple[_Image | None, int, int] | None = None
        while offset < end:
            stop = min(end, (offset // self._cluster + 1) * self._cluster)
            image, place = self._place(offset)
            size = stop - offset
            if held is not None and held[0] is image and (not image or place == sum(held[1:])):
                held = (image, held[1], held[2] + size)
            else:
                if held is not None:
                    yield held
                held = (image, place, size)
            offset = stop
        if held is not None:
            yield held

    def _place(self, offset: int) -> tuple[_Image | None, int]:
        unit = self._unit(offset // self._reach)
        cluster, inside = divmod(offset % self._reach, self._cluster)
        holder, place = int(unit.holder[cluster]), int(unit.place[cluster])
        if holder == _NOBODY:
            return None, 0
        image = self._images[holder]
        if not place and len(image.l1):
            return None, 0
        return image, place + inside


def _table(file: int, offset: int, entries: int) -> Numbers:
    data = os.pread(file, entries * 8, offset)
    if len(data) != entries * 8:
        raise OSError(5, "a table of an image lies behind its end")
    return np.frombuffer(data, ">u8").astype(np.uint64).view(np.int64)
