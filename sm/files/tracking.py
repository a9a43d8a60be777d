"""Changed block tracking of a file SR: who changed what since when.

Changes of a disk gather in a bitmap inside its image.  A snapshot takes the
bits out into a file of its own; records ``log/<disk>`` link these into a chain.
Source: briefs, storage section 4.7.
"""

import base64
from typing import Final

from sm import errors
from sm.drivers.change_log import BLOCK_BYTES, ChangeLog, changes_between, empty_bits, union
from sm.files import qemu
from sm.files.disks import Disk
from sm.files.images import Images
from sm.files.record_log import Changes, Record
from sm.files.store import BitFiles, Log
from sm.images import qcow2
from xapi_py.base.names import new_uuid

BITMAP: Final = "cbt"


class Tracking:
    """The change logs of one SR."""

    def __init__(self, bits: BitFiles, log: Log, images: Images) -> None:
        self._bits = bits
        self._log = log
        self._images = images

    def start(self, image: str) -> None:
        """Record changes of an image that is not open."""
        with self._images.at_hand(image):
            self._images.make_room(image, disk=False)
            qemu.add_bitmap(self._images.alone(image), BITMAP, BLOCK_BYTES)

    def stop(self, image: str) -> None:
        """Record no more changes of an image that is not open."""
        with self._images.at_hand(image):
            if self._find(image) is not None:
                qemu.remove_bitmap(self._images.alone(image), BITMAP)

    def _find(self, image: str) -> qcow2.StoredBitmap | None:
        with self._images.opened(image) as pread:
            found = qcow2.stored_bitmaps(qcow2.read_header(pread), pread)
        return next((b for b in found if b.name == BITMAP), None)

    def bits(self, image: str) -> bytes:
        """Changes gathered in an image that is not open for writing.

        Errors: 459 when its last writer did not close it.
        """
        try:
            with self._images.opened(image) as pread:
                header = qcow2.read_header(pread)
                for bitmap in qcow2.stored_bitmaps(header, pread):
                    if bitmap.name == BITMAP and not bitmap.in_use:
                        return qcow2.read_bitmap(header, bitmap, pread)
        except (OSError, qcow2.Qcow2Error) as problem:
            raise errors.backend_failure(errors.CBT_INCONSISTENT, str(problem)) from problem
        raise errors.backend_failure(errors.CBT_INCONSISTENT, "the log was not closed")

    def link(self, disk: str) -> Changes:
        """Begin a disk's chain."""
        return {f"log/{disk}": {"parent": "", "child": "", "file": ""}}

    def cut(self, disk: Disk, image: str, snapshot: str) -> Changes:
        """Hand what changed in ``image`` to a snapshot; the disk's log starts over."""
        name = f"{new_uuid()}.bits"
        old = self._record(disk.uuid) or {"parent": "", "file": ""}
        self._bits.write(name, union(self._stored(old), self.bits(image)))
        before = str(old["parent"])
        changes: Changes = {
            f"log/{snapshot}": {"parent": before, "child": disk.uuid, "file": name},
            f"log/{disk.uuid}": {"parent": snapshot, "child": "", "file": ""},
        }
        above = self._record(before)
        if above is not None:
            changes[f"log/{before}"] = {**above, "child": snapshot}
        return changes

    def inherit(self, disk: Disk, image: str) -> Changes:
        """Keep what changed in ``image`` with the disk, which goes on in another image."""
        old = self._record(disk.uuid) or {"parent": "", "child": "", "file": ""}
        name = f"{new_uuid()}.bits"
        self._bits.write(name, union(self._stored(old), self.bits(image)))
        return {f"log/{disk.uuid}": {**old, "file": name}}

    def unlink(self, disk: str, *, keep_changes: bool) -> Changes:
        """Take a disk out of its chain; the next one inherits its changes, or the chain ends."""
        old = self._record(disk)
        if old is None:
            return {}
        changes: Changes = {f"log/{disk}": None}
        before, after = str(old["parent"]), str(old["child"])
        later, earlier = self._record(after), self._record(before)
        if later is not None:
            joined = dict(later)
            joined["parent"] = before if keep_changes else ""
            if keep_changes:
                joined["file"] = self._joined(old, later)
            changes[f"log/{after}"] = joined
        if earlier is not None:
            child = after if keep_changes and later is not None else ""
            changes[f"log/{before}"] = {**earlier, "child": child}
        return changes

    def _joined(self, first: Record, second: Record) -> str:
        """Make a file with the bits of both; for a disk itself, what its image does not know."""
        name = f"{new_uuid()}.bits"
        self._bits.write(name, union(self._stored(first), self._stored(second)))
        return name

    def _record(self, disk: str) -> Record | None:
        return self._log.records.get(f"log/{disk}") if disk else None

    def _stored(self, record: Record) -> bytes:
        name = str(record["file"])
        return self._bits.read(name) if name else b""

    def between(self, first: str, second: Disk) -> str:
        """Blocks that changed after ``first`` up to ``second``, base64.

        Errors: 460 when no chain leads from one to the other, 459 for lost bits.
        """

        def lookup(disk: str) -> ChangeLog | None:
            record = self._record(disk)
            if record is None:
                return None
            bits = self._stored(record)
            if disk == second.uuid and not record["child"] and second.node:
                bits = union(bits, self.bits(second.node))
            return ChangeLog(bits, str(record["parent"]), str(record["child"]))

        try:
            found = changes_between(lookup, first, second.uuid)
        except OSError as problem:
            raise errors.backend_failure(errors.CBT_INCONSISTENT, str(problem)) from problem
        if found is None:
            text = "Source and target VDI are unrelated"
            raise errors.backend_failure(errors.CBT_CHANGED_BLOCKS, text)
        size = int(str(second.members.get("virtual_size", 0)))
        node = self._images.nodes.get(second.node)
        if node is not None:
            size = node.virtual_size
        return base64.b64encode(found.ljust(len(empty_bits(size)), b"\0")).decode("ascii")

    def drop_unused(self) -> None:
        """Remove files no record names."""
        used = {str(r["file"]) for n, r in self._log.records.items() if n.startswith("log/")}
        for name in self._bits.names():
            if name not in used:
                self._bits.delete(name)

    def merge(self, image: str, source: str) -> None:
        """Record in an image what another one recorded, both not open."""
        self.start(image)
        with self._images.at_hand(image, source):
            qemu.merge_bitmap(self._images.alone(image), self._images.alone(source), BITMAP)
