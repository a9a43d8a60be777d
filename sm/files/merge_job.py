"""Merging an image that is open into its parent, by the backend that has it open."""

import time
from pathlib import Path

from sm import errors
from sm.files import qemu
from sm.files.storage_daemon import CALL_TIMEOUT_S, StorageDaemon, node_name


class MergeJob:
    """The merge of one backend; there is at most one."""

    def __init__(self, daemon: StorageDaemon) -> None:
        self._daemon = daemon

    def start(self, node: Path, into: Path) -> None:
        """Begin to merge an open image into its backing file."""
        arguments = {
            "job-id": "merge",
            "device": self._daemon.image(),
            "top-node": node_name(node),
            "base-node": node_name(into),
            "backing-file": into.name,
            "auto-dismiss": False,
            "auto-finalize": False,
        }
        if arguments["device"] == arguments["top-node"]:
            del arguments["backing-file"]
        self._daemon.command("block-commit", arguments)

    def state(self) -> tuple[str, float]:
        """State of the merge, and how much is done, 0..1; "" when there is none.

        States are QEMU's: "ready" and "pending" wait for ``finish``, "concluded" is over.
        """
        jobs = [j for j in self._daemon.command("query-jobs") if j["id"] == "merge"]
        if not jobs:
            return "", 1.0
        (job,) = jobs
        if job["status"] == "concluded" and job.get("error"):
            self._daemon.command("job-dismiss", {"id": "merge"})
            raise qemu.failure(job["error"])
        total = max(1, job["total-progress"])
        return str(job["status"]), min(1.0, job["current-progress"] / total)

    def finish(self, into: Path) -> None:
        """Let the disk use the parent, once all data is there durably.

        QEMU does not see to that: it names the parent in the header above while the
        parent's tables are only in its memory, and whoever kills it then loses data.
        """
        state, _ = self.state()
        if state == "ready":
            self._daemon.command("job-complete", {"id": "merge"})
        end = time.monotonic() + CALL_TIMEOUT_S
        while state != "concluded":
            if time.monotonic() > end:
                raise errors.backend_failure(errors.EIO, "the merge does not end")
            if state == "pending":
                self._daemon.flush_image(into)
                self._daemon.command("job-finalize", {"id": "merge"})
            else:
                time.sleep(0.005)
            state, _ = self.state()
        self._daemon.command("job-dismiss", {"id": "merge"})
        self._daemon.drop_unused()

    def cancel(self) -> None:
        """Give a merge up; the images stay as they are, the parent may hold more."""
        state, _ = self.state()
        if not state:
            return
        if state != "concluded":
            self._daemon.command("job-cancel", {"id": "merge"})
        end = time.monotonic() + CALL_TIMEOUT_S
        while time.monotonic() < end:
            (state,) = [
                j["status"] for j in self._daemon.command("query-jobs") if j["id"] == "merge"
            ]
            if state == "concluded":
                self._daemon.command("job-dismiss", {"id": "merge"})
                return
            time.sleep(0.005)
