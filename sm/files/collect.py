"""Garbage collection of a file SR: delete what nobody needs, merge what can be merged.

A merge of images that are not open is a ``qemu-img`` process that others run;
it may be killed at any moment, since until the end everybody reads through
the image that is merged.  A disk in use is merged by its backend; its last
image stays one of its own then: while it is large, a fresh one is put on top
and it is merged as a hidden one.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Final

from sm.files.chains import Merge, Plan, Skipped
from sm.files.sr import FileSr
from sm.files.state import disk_errors
from xapi_py.base.names import new_uuid

SHRINK_BYTES: Final = 20 * 1024**2
"""A smaller last image of a disk in use is left alone."""


class Collector:
    """Collection on one SR, step by step: ``next_step``, do it, ``finish`` or ``give_up``."""

    def __init__(self, sr: FileSr) -> None:
        self._sr = sr
        self._merge: Merge | None = None
        self._failed: dict[str, str] = {}

    def start(self) -> None:
        """Begin a new round: what failed in the last one is tried again."""
        self._failed.clear()

    def next_step(self) -> Mapping[str, object]:
        """Delete garbage and say what to merge next.

        The answer has ``skipped`` [{vdi, reason}], ``left`` (merges to do) and,
        while there is one, ``merge``: its ``disks``, and either the ``command``
        to run or the disk (``live``) whose backend has started on it.
        """
        sr = self._sr
        if self._merge is not None:
            self.give_up("a new round began")
        with disk_errors():
            sr.images.look()
            sr.backends.stop_unused_views()
            plan = sr.chains().plan(sr.free_bytes(), frozenset(sr.keep))
            if not sr.images.damaged and not sr.log.lost_lines:
                self._delete(plan)
        skipped, merges = list(plan.skipped), []
        for merge in plan.merges:
            reason = self._failed.get(merge.node) or self._too_small(merge)
            if reason:
                skipped.append(Skipped(merge.disk or merge.node, reason))
            else:
                merges.append(merge)
        answer: dict[str, object] = {"skipped": [asdict(s) for s in skipped], "left": len(merges)}
        if merges:
            answer["merge"] = self._begin(merges[0])
        return answer

    def _delete(self, plan: Plan) -> None:
        for name in plan.delete:
            self._sr.images.delete(name)
            self._sr.notify("vdi", self._sr.uuid, name)
        if plan.delete:
            self._sr.notify("sr", self._sr.uuid)

    def _too_small(self, merge: Merge) -> str:
        if merge.live and merge.disk and self._data_bytes(merge) < SHRINK_BYTES:
            return "it is in use; the rest is merged when it is not"
        return ""

    def _data_bytes(self, merge: Merge) -> int:
        """About how much the last image of a disk in use holds."""
        sr = self._sr
        known = sr.images.nodes[merge.node].used_bytes
        if sr.images.plain:
            return known
        return max(known, sr.backends.written_end(merge.live, merge.node))

    def _begin(self, merge: Merge) -> Mapping[str, object]:
        sr = self._sr
        if merge.live and merge.disk:
            self._shrink(merge)
            merge = replace(merge, disk="")
        self._merge = merge
        found: dict[str, object] = {"disks": merge.disks, "live": merge.live, "node": merge.node}
        if merge.live:
            sr.images.make_room_to_merge(merge.node)
            sr.backends.start_merge(merge.live, merge.node, merge.into)
        else:
            if merge.disk and sr.disk(merge.disk).tracked:
                sr.tracking.stop(merge.into)
            found["command"] = list(sr.images.merge_command(merge.node))
        return found

    def _shrink(self, merge: Merge) -> None:
        """Put a fresh image on top of a disk in use."""
        sr, disk, top = self._sr, self._sr.disk(merge.disk), new_uuid()
        with sr.new_images() as made, disk_errors():
            sr.images.make(top, sr.images.nodes[merge.node].virtual_size, merge.node, room=True)
            made.append(top)
            sr.images.sync()
            sr.switch(disk, top, made)
            sr.put(replace(disk, node=top), changes={f"journal/{disk.uuid}": None})
        sr.images.trim(merge.node)

    def progress(self) -> tuple[str, float]:
        """State of the merge a backend does (``MERGED``: call ``finish``), and 0..1."""
        assert self._merge is not None
        return self._sr.backends.merge_state(self._merge.live)

    def finish(self) -> None:
        """Let everything above use the parent, and delete the merged image."""
        merge, self._merge = self._merge, None
        if merge is None:
            return
        sr = self._sr
        if merge.live:
            sr.backends.finish_merge(merge.live, merge.into)
        sr.hook("merged")
        with disk_errors():
            if not merge.live:  # a run before this one may have been killed
                sr.images.reclaim(merge.into)
            sr.images.end_merge(merge.into, disk=bool(merge.disk))
            sr.images.look_at(merge.into)
            if merge.disk:
                self._move_disk(merge)
            else:
                self._move_children(merge)
            sr.hook("moved")
            sr.images.delete(merge.node)
        for name in (merge.node, *merge.disks):
            sr.notify("vdi", sr.uuid, name)
        sr.notify("sr", sr.uuid)

    def _move_disk(self, merge: Merge) -> None:
        sr = self._sr
        disk = sr.disk(merge.disk)
        if disk.tracked:
            sr.tracking.merge(merge.into, merge.node)
        sr.put(replace(disk, node=merge.into))

    def _move_children(self, merge: Merge) -> None:
        sr = self._sr
        for child in sr.chains().children.get(merge.node, ()):
            sr.images.adopt(child, merge.into, told=bool(merge.live))
        moved = [
            replace(d, reset_base=merge.into) for d in sr.disks() if d.reset_base == merge.node
        ]
        sr.put(*moved)

    def give_up(self, reason: str) -> None:
        """Forget the merge: it failed, or somebody needs its disks."""
        merge, self._merge = self._merge, None
        if merge is None:
            return
        self._failed[merge.node] = reason
        if merge.live:
            self._sr.backends.cancel_merge(merge.live)
        else:
            self._sr.images.end_merge(merge.into, disk=False)
