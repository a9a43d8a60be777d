"""Images as logical volumes: qcow2 in ``QCOW2-<name>``, raw in ``LV-<name>``.

The tree is in records ``node/<name>`` of the SR's metadata, not in headers:
a volume can only be read while this host shows it as a device.  Records that
change go into the next commit of the operation that changed them.

Thick: an image that a disk writes to has room for all the disk may ever hold;
images that are only parents have just what they need.  Thin: an image grows
in steps while it is written to (``watch``).
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from sm import errors
from sm.files import qemu
from sm.files.chains import Node
from sm.files.images import Images
from sm.files.record_log import Changes, Record
from sm.files.store import Log
from sm.images import qcow2
from sm.volumes.device import BLOCK, Device, is_block
from sm.volumes.lvm import VolumeGroup, round_up
from xapi_py.base.rpc.errors import RpcError

log = logging.getLogger(__name__)

QCOW2: Final = "QCOW2-"
RAW: Final = "LV-"
STEP: Final = 1024**3
"""Thin images have so much room ahead of what is written."""
SLACK: Final = 4 * 1024**2
MARGIN: Final = 1024**2


def first_size(size: int, *, room: bool, thin: bool) -> int:
    """Give the bytes of the volume of a new qcow2 image, with or without room for data."""
    head, full = qcow2.file_bytes(size), qcow2.full_bytes(size)
    return (min(full, head + STEP) if thin else full) if room else head + MARGIN


class VolumeImages(Images):
    """The images of one SR.  ``mine`` tells whether this host may change volumes."""

    plain = False

    def __init__(
        self, group: VolumeGroup, records: Log, mine: Callable[[], bool], *, thin: bool
    ) -> None:
        super().__init__()
        self.group = group
        self.thin = self.grows = thin
        self._records = records
        self._mine = mine
        self._pending: Changes = {}
        self._owners: dict[str, set[str]] = {}

    # -- reading

    def _volume(self, name: str, form: str = "") -> str:
        node = self.nodes.get(name)
        form = form or (node.format if node else str(self._record(name).get("format", "qcow2")))
        return f"{RAW if form == 'raw' else QCOW2}{name}"

    def _record(self, name: str) -> Record:
        if f"node/{name}" in self._pending:
            return self._pending[f"node/{name}"] or {}
        return self._records.records.get(f"node/{name}", {})

    def path(self, name: str) -> Path:
        return self.group.path(self._volume(name))

    def look(self) -> None:
        self.group.look()
        self.read_records()

    def read_records(self) -> None:
        """Make ``nodes`` what records and volumes say; a record without a volume is no node."""
        self.nodes.clear()
        for volume, found in self.group.volumes.items():
            for prefix, form in ((QCOW2, "qcow2"), (RAW, "raw")):
                name = volume.removeprefix(prefix)
                if name != volume:
                    self.nodes[name] = self._node(name, form, found.size)

    def _node(self, name: str, form: str, size: int) -> Node:
        record = self._record(name)
        if not record:  # a volume that a killed process left
            return Node("", size, size, "raw" if form == "raw" else "qcow2", held_bytes=size)
        used = size if form == "raw" else min(size, int(str(record.get("data", size))))
        return Node(
            str(record["parent"]),
            int(str(record["size"])),
            used,
            "raw" if form == "raw" else "qcow2",
            held_bytes=size,
        )

    def look_at(self, name: str) -> Node | None:
        found = self.group.volumes.get(self._volume(name))
        if found is None:
            self.nodes.pop(name, None)
            return None
        old = self.nodes.get(name)
        node = self._node(name, old.format if old else self._form(name), found.size)
        self.nodes[name] = replace(node, empty=old.empty if old else False)
        return self.nodes[name]

    def _form(self, name: str) -> str:
        return str(self._record(name).get("format", "qcow2"))

    def examine(self, name: str) -> Node:
        node = self.nodes[name]
        if node.format == "raw":
            return node
        try:
            with self.at_hand(name), self.opened(name) as pread:
                header = qcow2.read_header(pread)
                if header.corrupt:
                    raise qcow2.Qcow2Error("it is marked as corrupt")
                end, blank = qcow2.end_of_data(header, pread), qcow2.is_empty(header, pread)
        except qcow2.Qcow2Error as problem:
            self.damaged[name] = str(problem)
            raise errors.backend_failure(errors.VDI_LOAD, str(problem)) from problem
        self.damaged.pop(name, None)
        node = replace(node, virtual_size=header.virtual_size, used_bytes=end, empty=blank)
        self.nodes[name] = node
        record = self._record(name)
        if record and self._mine():
            self._put(name, {**record, "size": header.virtual_size, "data": end})
        return node

    def _put(self, name: str, record: Record | None) -> None:
        self._pending[f"node/{name}"] = record

    def pending(self) -> Mapping[str, Record | None]:
        return dict(self._pending)

    def committed(self) -> None:
        self._pending.clear()

    @contextmanager
    def opened(self, name: str) -> Iterator[qcow2.Pread]:
        with Device(self.path(name), writable=False) as device:
            yield device.pread

    # -- making and deleting

    def make(
        self, name: str, size: int, parent: str = "", *, raw: bool = False, room: bool = False
    ) -> None:
        volume = f"{RAW if raw else QCOW2}{name}"
        record: Record = {"parent": parent, "size": size, "format": "raw" if raw else "qcow2"}
        length = size if raw else qcow2.file_bytes(size)
        self.group.make(volume, length if raw else first_size(size, room=room, thin=self.thin))
        try:
            if not raw:
                below = (self._volume(parent), self.nodes[parent].format) if parent else ()
                image = qcow2.empty_image(size, *below).ljust(length, b"\0")
                with Device(self.group.path(volume)) as device:
                    device.pwrite(image, 0)
                record["data"] = length
        except BaseException as problem:
            if isinstance(problem, Exception):
                self.group.remove([volume])
            raise
        self._put(name, record)
        node = self._node(name, str(record["format"]), self.group.volumes[volume].size)
        self.nodes[name] = replace(node, empty=not raw)

    def delete(self, name: str) -> None:
        for owned in self._owners.values():
            owned.discard(name)
        try:
            self.group.remove([f"{QCOW2}{name}", f"{RAW}{name}"])
        except RpcError as problem:  # somebody has it open: a later round deletes it
            log.warning("image %s stays for now: %s", name, problem)
            return
        if self._records.records.get(f"node/{name}") is not None:
            self._put(name, None)
        else:
            self._pending.pop(f"node/{name}", None)
        self.nodes.pop(name, None)
        self.damaged.pop(name, None)

    # -- devices of this host

    def hold(self, owner: str, names: Sequence[str]) -> None:
        known = [n for n in names if n in self.nodes]
        self.group.activate(self._volume(n) for n in known)
        self._owners.setdefault(owner, set()).update(known)

    def let_go(self, owner: str) -> None:
        self._owners.pop(owner, None)

    def tidy(self) -> None:
        """Give back the devices nobody holds; those that are open after all stay."""
        held = {self._volume(n) for names in self._owners.values() for n in names}
        idle = [
            v
            for v, found in self.group.volumes.items()
            if found.active and v not in held and v.startswith((QCOW2, RAW))
        ]
        try:
            self.group.deactivate(idle)
        except RpcError as problem:
            log.warning("volumes stay active: %s", problem)
            for volume in idle:
                with suppress(RpcError):
                    self.group.deactivate([volume])

    # -- space

    def _extend(self, name: str, size: int) -> None:
        volume = self._volume(name)
        if round_up(size) <= self.group.volumes[volume].size:
            return
        if not self._mine():
            text = "the disk needs more room, which only the pool's master can give it"
            raise errors.backend_failure(errors.LVM_MASTER, text)
        self.group.extend(volume, size)
        self.look_at(name)

    def make_room(self, name: str, *, disk: bool = True, whole: bool = False) -> None:
        node = self.nodes[name]
        if node.format == "raw":
            return
        full = qcow2.full_bytes(node.virtual_size)
        if not disk:
            self._extend(name, min(full, self.examine(name).used_bytes + 2 * SLACK))
        elif self.thin:
            ahead = max(STEP, self.group.free // 2) if whole else STEP
            self._extend(name, min(full, self.examine(name).used_bytes + ahead))
        else:
            self._extend(name, full)

    def grow(self, name: str, end: int) -> None:
        node = self.nodes[name]
        volume = self.group.volumes[self._volume(name)]
        if node.format == "qcow2" and volume.size - end < STEP // 2:
            self._extend(name, min(qcow2.full_bytes(node.virtual_size), end + STEP))

    def closed(self, name: str) -> None:
        if self.thin:
            self.trim(name)
        else:
            with suppress(RpcError, OSError):
                self.examine(name)

    def trim(self, name: str) -> None:
        with suppress(RpcError):
            node = self.examine(name)
            if node.format == "qcow2" and self._mine():
                self.group.reduce(self._volume(name), node.used_bytes)
                self.look_at(name)

    def resize(self, name: str, size: int) -> None:
        """Errors: 44.  A record says what is under way, so that it can be finished."""
        self._begin_resize(name, size)
        self._finish_resize(name, size)

    def resize_live(self, name: str, size: int, grow: Callable[[], None]) -> None:
        """Errors: 44, that of ``grow``; the image may have more room then than it needs."""
        self._begin_resize(name, size)
        self._pending[f"resize/{name}"] = None
        grow()
        self._put(name, {**self._record(name), "size": size})
        self.nodes[name] = replace(self.nodes[name], virtual_size=size)

    def _begin_resize(self, name: str, size: int) -> None:
        if not self.thin:
            self._extend(name, qcow2.full_bytes(size))
        else:
            self._extend(name, self.nodes[name].used_bytes + 2 * SLACK)
        self._records.commit({**self._pending, f"resize/{name}": {"size": size}})
        self._pending.clear()

    def _finish_resize(self, name: str, size: int) -> None:
        with self.at_hand(*self.chain(name)):
            if self.examine(name).virtual_size < size:
                with suppress(_InUse):  # its backend was not told: it never was
                    _resize(self.source(name)[0], size)
            self.examine(name)
        self._pending[f"resize/{name}"] = None

    def repair(self) -> None:
        """Finish what a killed process began, and forget records of images that are gone."""
        for record, value in list(self._records.records.items()):
            kind, _, name = record.partition("/")
            if kind == "resize" and name in self.nodes:
                self._finish_resize(name, int(str(value["size"])))
            elif kind == "resize":
                self._pending[record] = None

    def forget_missing(self, needed: Callable[[str], bool]) -> None:
        """Forget the records of images that are gone and that no chain contains."""
        for record in self._records.records:
            kind, _, name = record.partition("/")
            if kind == "node" and name not in self.nodes and not needed(name):
                self._pending[record] = None

    # -- trees

    def adopt(self, child: str, parent: str, *, told: bool) -> None:
        self._put(child, {**self._record(child), "parent": parent})
        self.look_at(child)

    def make_room_to_merge(self, name: str) -> None:
        into = self.nodes[name].parent
        above, below = self.examine(name), self.examine(into)
        if below.format == "raw":
            return
        size = max(above.virtual_size, below.virtual_size)
        both = below.used_bytes + above.used_bytes + SLACK
        self._extend(into, min(qcow2.full_bytes(size), both))

    def merge_command(self, name: str) -> Sequence[str]:
        self.make_room_to_merge(name)
        self.hold("merge", self.chain(name))
        return ("qemu-img", "commit", "-p", "-d", self.source(name)[0])

    def end_merge(self, into: str, *, disk: bool) -> None:
        self.let_go("merge")
        if self.nodes[into].format == "raw":
            return
        self.examine(into)
        if disk:
            with suppress(RpcError):  # it gets its room when it is activated
                self.make_room(into)
        else:
            self.trim(into)

    def source(self, name: str) -> tuple[str, str]:
        return _name_for_qemu(self.chain_files(name)), ""

    def alone(self, name: str) -> str:
        return _name_for_qemu([(self.path(name), self.nodes[name].format)])

    def zero(self, name: str, offset: int = 0) -> None:
        """Fill a raw image with zeros from an offset on."""
        with self.at_hand(name), Device(self.path(name)) as device:
            device.zero(offset // BLOCK * BLOCK, device.size() - offset)


class _InUse(Exception):
    """A process has the image open."""


def _resize(image: str, size: int) -> None:
    try:
        qemu.resize(image, "qcow2", size)
    except RpcError as problem:
        if problem.params[:1] == ("VDI_IN_USE",):
            raise _InUse from problem
        raise


def _name_for_qemu(chain: Sequence[tuple[Path, str]]) -> str:
    """Name an image with explicit parents, whatever headers say: they may be out of date."""
    found: dict[str, object] | None = None
    for path, form in reversed(chain):
        driver = "host_device" if is_block(path) else "file"
        file = {"driver": driver, "filename": str(path)}
        above: dict[str, object] = {"driver": form, "file": file}
        if form == "qcow2":
            above["backing"] = found
        found = above
    return f"json:{json.dumps(found)}"
