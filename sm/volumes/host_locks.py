"""Which host has which disks of a volume SR active: one place for each host, written by it alone.

A host writes its own place first and looks at the others' then, so of two
that want a disk at the same time at most one gets it.  A place has two copies,
written in turn.
"""

import uuid
import zlib
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from sm import errors
from sm.volumes.device import BLOCK, Device

LOCKS_AT: Final = 64 * 1024
HOSTS: Final = 64
_COPY: Final = 16 * 1024
_PLACE: Final = 2 * _COPY
_MAGIC: Final = b"xpL1"
_HEAD: Final = Struct("<4sIQ64sHH")  # magic, crc, number, host, disks written, disks read
MAX_DISKS: Final = (_COPY - _HEAD.size) // 16


@dataclass(slots=True)
class _Place:
    host: str = ""
    number: int = 0
    writing: set[str] = field(default_factory=set)
    reading: set[str] = field(default_factory=set)

    def pack(self) -> bytes:
        disks = b"".join(uuid.UUID(v).bytes for v in sorted(self.writing) + sorted(self.reading))
        counts = (len(self.writing), len(self.reading))
        body = _HEAD.pack(_MAGIC, 0, self.number, self.host.encode(), *counts) + disks
        return body[:4] + zlib.crc32(body).to_bytes(4, "little") + body[8:]


def _unpack(data: bytes) -> _Place | None:
    magic, crc, number, host, writing, reading = _HEAD.unpack_from(data)
    end = _HEAD.size + 16 * (writing + reading)
    if magic != _MAGIC or end > len(data):
        return None
    if zlib.crc32(data[:4] + bytes(4) + data[8:end]) != crc:
        return None
    disks = [str(uuid.UUID(bytes=data[i : i + 16])) for i in range(_HEAD.size, end, 16)]
    name = host.rstrip(b"\0").decode()
    return _Place(name, number, set(disks[:writing]), set(disks[writing:]))


class HostLocks:
    """The locks in an SR's metadata volume.  Errors of all methods: OSError."""

    def __init__(self, device: Device, host: str) -> None:
        self._device = device
        self._host = host

    def _places(self) -> list[_Place]:
        data = self._device.pread(LOCKS_AT, HOSTS * _PLACE)
        places = []
        for at in range(0, HOSTS * _PLACE, _PLACE):
            copies = (_unpack(data[at + i : at + i + _COPY]) for i in (0, _COPY))
            found = [c for c in copies if c is not None]
            places.append(max(found, key=lambda c: c.number) if found else _Place())
        return places

    def _index(self, places: list[_Place], host: str) -> int:
        start = zlib.crc32(host.encode()) % HOSTS
        order = [(start + i) % HOSTS for i in range(HOSTS)]
        for wanted in (host, ""):
            for index in order:
                if places[index].host == wanted:
                    return index
        raise errors.backend_failure(errors.SR_UNAVAILABLE, "too many hosts use the SR")

    def _write(self, index: int, place: _Place) -> None:
        place.number += 1
        at = LOCKS_AT + index * _PLACE + place.number % 2 * _COPY
        self._device.pwrite(place.pack().ljust(BLOCK, b"\0"), at)

    def holders(self, vdi: str) -> list[tuple[str, bool]]:
        """Hosts that have a disk active, and whether for writing."""
        return [
            (p.host, vdi in p.writing)
            for p in self._places()
            if vdi in p.writing or vdi in p.reading
        ]

    def held_elsewhere(self) -> dict[str, str]:
        """Disks other hosts have active for writing, and a host of each."""
        return {d: p.host for p in self._places() if p.host != self._host for d in p.writing}

    def lock(self, vdi: str, *, writing: bool, sharable: bool) -> None:
        """Take a disk for this host.  Errors: Activated_on_another_host."""
        places = self._places()
        index = self._index(places, self._host)
        mine = places[index]
        mine.host = self._host
        before = (vdi in mine.writing, vdi in mine.reading)
        (mine.writing if writing else mine.reading).add(vdi)
        if len(mine.writing) + len(mine.reading) > MAX_DISKS:
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "too many disks are in use")
        self._write(index, mine)
        if not writing or sharable:
            return
        other = self.held_elsewhere().get(vdi)
        if other is not None:
            if not before[0]:
                mine.writing.discard(vdi)
            self._write(index, mine)
            raise errors.activated_elsewhere(other)

    def unlock(self, vdi: str) -> None:
        """Let a disk go."""
        self._drop(self._host, {vdi})

    def release(self, host: str) -> None:
        """Drop everything a dead host held."""
        self._drop(host, None)

    def _drop(self, host: str, vdis: set[str] | None) -> None:
        for index, place in enumerate(self._places()):
            gone = (place.writing | place.reading) if vdis is None else vdis
            if place.host == host and not gone.isdisjoint(place.writing | place.reading):
                place.writing -= gone
                place.reading -= gone
                self._write(index, place)
