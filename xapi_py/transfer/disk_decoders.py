"""Disks that come as streams in the formats of /import_raw_vdi, taken apart on the way."""

from typing import Final, Protocol

from ocaml_compat.qcow2_stream import Qcow2Reader, Qcow2StreamError
from ocaml_compat.raw_chunks import RawChunks, RawChunksError
from ocaml_compat.vhd import DiskType, VhdError
from ocaml_compat.vhd_stream import VhdReader
from ocaml_compat.xva import Manifest, Version, XvaError, XvaReader

Pieces = list[tuple[int, bytes]]
"""Data with its offset on the disk."""

BAD_IMAGE: Final = (VhdError, Qcow2StreamError, RawChunksError, XvaError)
"""What decoders raise for streams that are not as they should be."""


class Decoder(Protocol):
    """A stream of one format.  Errors of ``feed`` and ``finish``: ``BAD_IMAGE``."""

    @property
    def ready(self) -> bool:
        """Whether it is known what comes: ``size`` and ``partial``."""

    @property
    def finished(self) -> bool:
        """Whether the end is known to have come, whatever follows."""

    @property
    def size(self) -> int | None:
        """Bytes the disk must have at least; None where the stream does not say."""

    @property
    def partial(self) -> bool:
        """Whether what the stream does not hold stays as it is on the disk."""

    def feed(self, data: bytes) -> Pieces: ...

    def finish(self) -> Pieces:
        """Take the end of the stream; refuses one that came too early."""

    def close(self) -> None: ...


class RawDecoder:
    """All bytes from the start; ``expected`` of them, or as many as come."""

    ready = True
    partial = False

    def __init__(self, expected: int | None, limit: int) -> None:
        self.size = expected
        self._expected = expected
        self._limit = limit if expected is None else expected
        self._position = 0

    @property
    def finished(self) -> bool:
        return self._position >= self._limit

    def feed(self, data: bytes) -> Pieces:
        inside = data[: self._limit - self._position]
        found = [(self._position, inside)] if inside else []
        self._position += len(inside)
        return found

    def finish(self) -> Pieces:
        if self._expected is not None and self._position < self._expected:
            raise RawChunksError("the image broke off")
        return []

    def close(self) -> None:
        """Nothing is held."""


class FramesDecoder:
    """Raw data in frames that say where it goes."""

    ready = True
    partial = True
    size = None

    def __init__(self) -> None:
        self._frames = RawChunks()

    @property
    def finished(self) -> bool:
        return self._frames.finished

    def feed(self, data: bytes) -> Pieces:
        return self._frames.feed(data)

    def finish(self) -> Pieces:
        if not self.finished:
            raise RawChunksError("the image broke off")
        return []

    def close(self) -> None:
        """Nothing is held."""


class VhdDecoder:
    """A VHD: fixed, dynamic, or differencing, which is partial."""

    def __init__(self) -> None:
        self._reader = VhdReader()
        self._fed = 0

    @property
    def ready(self) -> bool:
        return self._reader.header is not None or self._fed >= 4096

    @property
    def finished(self) -> bool:
        return self._reader.finished

    @property
    def size(self) -> int | None:
        return None if self._reader.footer is None else self._reader.footer.current_size

    @property
    def partial(self) -> bool:
        footer = self._reader.footer
        return footer is not None and footer.disk_type is DiskType.DIFFERENCING

    def feed(self, data: bytes) -> Pieces:
        self._fed += len(data)
        return self._reader.feed(data)

    def finish(self) -> Pieces:
        self._reader.finish()
        return []

    def close(self) -> None:
        """Nothing is held."""


class Qcow2Decoder:
    """A qcow2 image; one with a backing file is partial."""

    def __init__(self) -> None:
        self._reader = Qcow2Reader()

    @property
    def ready(self) -> bool:
        return self._reader.ready

    @property
    def finished(self) -> bool:
        return self._reader.finished

    @property
    def size(self) -> int | None:
        return self._reader.size if self._reader.ready else None

    @property
    def partial(self) -> bool:
        return bool(self._reader.backing_file)

    def feed(self, data: bytes) -> Pieces:
        return self._reader.feed(data)

    def finish(self) -> Pieces:
        return self._reader.finish()

    def close(self) -> None:
        self._reader.close()


_NOBODY: Final = Version("", "", "", "", "", (0, 0))


class TarDecoder:
    """Blocks of 1 MiB with check sums.  Errors: ChecksumError too."""

    ready = True
    partial = False
    size = None

    def __init__(self) -> None:
        self._reader = XvaReader(Manifest(_NOBODY, ()))
        self._folder = ""

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def feed(self, data: bytes) -> Pieces:
        found: Pieces = []
        for block in self._reader.feed(data):
            self._folder = self._folder or block.directory
            if block.directory != self._folder:
                raise XvaError(f"a second disk, {block.directory!r}")
            block.verify()
            found.append((block.offset, block.data))
        return found

    def finish(self) -> Pieces:
        if not self.finished or not self._folder:
            raise XvaError("the image broke off")
        return []

    def close(self) -> None:
        """Nothing is held."""


def decoder(form: str, *, framed: bool, expected: int | None, limit: int) -> Decoder:
    """Give the decoder of a format; ``expected`` and ``limit`` are those of raw images."""
    match form:
        case "vhd":
            return VhdDecoder()
        case "qcow2":
            return Qcow2Decoder()
        case "tar":
            return TarDecoder()
        case _:
            return FramesDecoder() if framed else RawDecoder(expected, limit)
