"""Chains of images: what is garbage, what can be merged, and why something cannot.

Pure.  A node is one image file; a disk is a name for the end of a chain.
Nodes of disks have no children: a node with children is hidden.
Source: briefs, storage section 4.6.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

MAX_CHAIN: Final = 30


@dataclass(frozen=True, slots=True)
class Node:
    """An image: its parent's name or empty, sizes in bytes, whether it holds no data itself.

    ``held_bytes``: space that is set aside for it, when that is not what it uses.
    """

    parent: str
    virtual_size: int
    used_bytes: int
    format: Literal["qcow2", "raw"] = "qcow2"
    empty: bool = False
    held_bytes: int = -1

    @property
    def space_bytes(self) -> int:
        """Space it takes of the SR."""
        return self.held_bytes if self.held_bytes >= 0 else self.used_bytes


@dataclass(frozen=True, slots=True)
class Use:
    """How a disk is used: ``active`` while a backend has its images open.

    ``tracked``: its changes are recorded in its image.  ``busy`` says why it
    must be left alone, or is empty.
    """

    node: str
    active: bool = False
    tracked: bool = False
    busy: str = ""


@dataclass(frozen=True, slots=True)
class Merge:
    """Move what ``node`` holds into its parent and let what is above use the parent.

    ``disk`` is the disk whose node it is, or empty for a hidden one; ``live``
    is the disk whose backend must do it, or empty; ``disks`` are all above.
    """

    node: str
    into: str
    disk: str
    live: str
    disks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A disk or hidden node that stays, and the reason."""

    vdi: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do: ``delete`` first, then ``merges`` in order."""

    delete: tuple[str, ...] = ()
    merges: tuple[Merge, ...] = ()
    skipped: tuple[Skipped, ...] = ()


@dataclass(slots=True)
class Chains:
    """The images of an SR and the disks at their ends."""

    nodes: Mapping[str, Node]
    uses: Mapping[str, Use]
    children: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.children = {}
        for name, node in self.nodes.items():
            if node.parent:
                self.children.setdefault(node.parent, []).append(name)

    def chain(self, name: str) -> list[str]:
        """The node and all below it; ends at a missing parent or a loop."""
        found: list[str] = []
        while name in self.nodes and name not in found:
            found.append(name)
            name = self.nodes[name].parent
        return found

    def garbage(self, keep: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Nodes no disk needs, those on top first.  ``keep`` are needed for other reasons."""
        needed: set[str] = set()
        for start in [*(use.node for use in self.uses.values()), *keep]:
            for name in self.chain(start):
                if name in needed:
                    break
                needed.add(name)
        unneeded = [n for n in self.nodes if n not in needed]
        return tuple(sorted(unneeded, key=lambda n: (-len(self.chain(n)), n)))

    def disks_above(self, name: str) -> tuple[str, ...]:
        """Disks whose chains contain the node."""
        return tuple(sorted(d for d, u in self.uses.items() if name in self.chain(u.node)))

    def plan(self, free_bytes: int, keep: frozenset[str] = frozenset()) -> Plan:
        """Decide what to delete and merge; the deepest merges first."""
        merges, skipped = [], []
        by_node = {use.node: disk for disk, use in self.uses.items()}
        garbage = self.garbage(keep)
        for name, node in self.nodes.items():
            if (
                name in garbage
                or not node.parent
                or node.parent not in self.nodes
                or node.parent in by_node
            ):
                continue
            siblings = [c for c in self.children[node.parent] if c not in garbage]
            if siblings != [name] or node.parent in keep or name in keep:
                continue
            disk = by_node.get(name, "")
            found = self._merge(name, node, disk, free_bytes)
            if isinstance(found, Merge):
                merges.append(found)
            else:
                skipped.append(Skipped(disk or name, found))
        merges.sort(key=lambda m: (-len(self.chain(m.node)), m.node))
        return Plan(garbage, tuple(merges), tuple(skipped))

    def _merge(self, name: str, node: Node, disk: str, free_bytes: int) -> Merge | str:
        """Give the merge of a node with its parent, or the reason against it."""
        above = self.disks_above(name)
        active = [d for d in above if self.uses[d].active]
        for other in above:
            if self.uses[other].busy:
                return self.uses[other].busy
        if self.nodes[node.parent].format == "raw" and self._grows(name, node):
            return "the disk grew and its parent is a raw image"
        if node.used_bytes > free_bytes:
            return f"merging needs up to {node.used_bytes} bytes, {free_bytes} are free"
        if not active:
            return Merge(name, node.parent, disk, "", above)
        if len(above) > 1:
            return "several disks depend on it and one of them is in use"
        if self.uses[active[0]].tracked:
            return "its changes are tracked; it is merged when it is not in use"
        return Merge(name, node.parent, disk, active[0], above)

    def _grows(self, name: str, node: Node) -> bool:
        return node.virtual_size > self.nodes[node.parent].virtual_size
