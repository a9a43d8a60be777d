"""The images of one SR: their names never change."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sm.files import qemu
from sm.files.chains import Node
from sm.files.record_log import Record
from sm.images import qcow2


class Images:
    """Images by name (a uuid), and what operations need of whatever they are kept on.

    ``plain``: an image is a file that can be opened at any time, and a new
    raw one reads as zeros.  ``grows``: images need ``grow`` while they are written to.
    """

    plain = True
    grows = False

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.damaged: dict[str, str] = {}
        self._hands = 0

    def path(self, name: str) -> Path:
        """Where the image is."""
        raise NotImplementedError

    def look(self) -> None:
        """Find what is there; images in use change while nobody looks."""
        raise NotImplementedError

    def look_at(self, name: str) -> Node | None:
        """Look at one image; None when it is missing or damaged."""
        raise NotImplementedError

    def examine(self, name: str) -> Node:
        """Look closely: afterwards ``nodes`` says exactly what the image holds."""
        self.look_at(name)
        return self.nodes[name]

    def make(
        self, name: str, size: int, parent: str = "", *, raw: bool = False, room: bool = False
    ) -> None:
        """Make an image without data, durably once ``sync`` was called and records committed.

        ``room``: with space to write to it, as ``make_room`` gives.
        Errors: OSError, RpcError; then nothing is left.
        """
        raise NotImplementedError

    def sync(self) -> None:
        """Make the names of new images durable."""

    def delete(self, name: str) -> None:
        """Remove an image; one that is gone already does not matter."""
        raise NotImplementedError

    def opened(self, name: str) -> contextlib.AbstractContextManager[qcow2.Pread]:
        """Read from a qcow2 image."""
        raise NotImplementedError

    def pending(self) -> Mapping[str, Record | None]:
        """Records about images that the next commit must contain."""
        return {}

    def committed(self) -> None:
        """The pending records were committed."""

    def hold(self, owner: str, names: Sequence[str]) -> None:
        """Have images at hand for an owner until ``let_go``; adds to what it holds."""

    def let_go(self, owner: str) -> None:
        """An owner needs its images no more."""

    def tidy(self) -> None:
        """A call ended: give back what nobody holds."""

    def repair(self) -> None:
        """Finish what a killed process began with single images."""

    def reclaim(self, name: str) -> None:
        """Free what an image's writer had set aside when it was killed; nobody has it open.

        Failing at that costs space only: it is logged.
        """
        node = self.nodes.get(name)
        if node is not None and node.format == "qcow2":
            qemu.reclaim(self.alone(name))
            self.look_at(name)

    def forget_missing(self, needed: Callable[[str], bool]) -> None:
        """Forget what is known of images that are gone, unless ``needed``."""

    @contextlib.contextmanager
    def at_hand(self, *names: str) -> Iterator[None]:
        """Have images at hand while the block runs."""
        self._hands += 1
        owner = f"call/{self._hands}"
        try:
            self.hold(owner, names)
            yield
        finally:
            self.let_go(owner)

    def make_room(self, name: str, *, disk: bool = True, whole: bool = False) -> None:
        """Have space to write to an image: what its disk may need, or for small changes.

        ``whole``: nobody will call ``grow`` while it is written to.

        Errors: 44.
        """

    def trim(self, name: str) -> None:
        """Give back the space an image does not need while nobody writes to it."""

    def closed(self, name: str) -> None:
        """A backend that wrote to an image has ended."""

    def grow(self, name: str, end: int) -> None:
        """An image is being written up to ``end``: have room ahead of that."""

    def resize(self, name: str, size: int) -> None:
        """Make the disk of an image that is not open larger."""
        qemu.resize(self.path(name), self.nodes[name].format, size)
        self.look_at(name)

    def resize_live(self, name: str, size: int, grow: Callable[[], None]) -> None:
        """Make the disk of an image that is open larger; ``grow`` has its backend do it."""
        grow()
        self.look_at(name)

    def adopt(self, child: str, parent: str, *, told: bool) -> None:
        """Let an image have another parent; ``told``: its header says so already."""
        path = self.path(parent)
        if not told:
            qemu.set_backing(self.path(child), path.name, path.suffix[1:])
        self.look_at(child)

    def merge_command(self, name: str) -> Sequence[str]:
        """Give the command that writes an image's data into its parent.  Errors: 44."""
        return qemu.commit_command(self.path(name))

    def make_room_to_merge(self, name: str) -> None:
        """Have space in an image's parent for what the image holds.  Errors: 44."""

    def end_merge(self, into: str, *, disk: bool) -> None:
        """A merge into an image ended, well or not; ``disk``: it is a disk's own now."""

    def source(self, name: str) -> tuple[str, str]:
        """What ``qemu-img`` calls the content of an image with all below: name and format."""
        return str(self.path(name)), self.nodes[name].format

    def layout(self, name: str) -> list[dict[str, object]]:
        """Where the tables of an image and all below it are, as ``sm.contract.Access`` says.

        Nothing when an image has what only QEMU reads.
        """
        found = []
        for below in self.chain(name):
            node, l1 = self.nodes[below], {"cluster_bits": 0, "l1_offset": 0, "l1_entries": 0}
            if node.format == "qcow2":
                with self.opened(below) as pread:
                    header = qcow2.read_header(pread)
                if header.extended_l2:
                    return []
                l1 = {name: getattr(header, name) for name in l1}
            found.append({"path": str(self.path(below)), "size": node.virtual_size, **l1})
        return found

    def alone(self, name: str) -> str:
        """What ``qemu-img`` calls an image for work on itself only."""
        return str(self.path(name))

    def chain(self, name: str) -> list[str]:
        """An image and all below it; ends at a missing parent or a loop."""
        found: list[str] = []
        while name in self.nodes and name not in found:
            found.append(name)
            name = self.nodes[name].parent
        return found

    def chain_files(self, name: str) -> list[tuple[Path, str]]:
        """Paths and formats of an image and all below it; nothing when one is missing."""
        names = self.chain(name)
        if not names or self.nodes[names[-1]].parent:
            return []
        return [(self.path(n), self.nodes[n].format) for n in names]
