"""Mirroring a disk in use into another image, by the backend that has it open.

The backend itself knows how far it is; who watches it may come and go.
"""

import time
from pathlib import Path
from typing import Final

from sm import errors
from sm.files import qemu
from sm.files.storage_daemon import CALL_TIMEOUT_S, StorageDaemon, node_name

JOB: Final = "mirror"
STEP_S: Final = 0.005


class MirrorJob:
    """The mirror of one backend; there is at most one."""

    def __init__(self, daemon: StorageDaemon) -> None:
        self._daemon = daemon

    def start(self, image: Path, form: str) -> None:
        """Begin to copy the disk into an empty image.

        From then on every write goes to both before the guest hears of it.
        """
        daemon = self._daemon
        daemon.open_image(image, form)
        try:
            daemon.command(
                "blockdev-mirror",
                {
                    "job-id": JOB,
                    "device": daemon.image(),
                    "target": node_name(image),
                    "sync": "full",
                    "copy-mode": "write-blocking",
                    "filter-node-name": JOB,
                    "auto-dismiss": False,
                },
            )
        except BaseException:
            daemon.drop_unused()
            raise

    def state(self) -> tuple[str, float]:
        """State of the job, and how much is done, 0..1; "" when there is none.

        "ready" says that both images are the same.  Errors: why it failed.
        """
        jobs = [j for j in self._daemon.command("query-jobs") if j["id"] == JOB]
        if not jobs:
            return "", 0.0
        (job,) = jobs
        if job["status"] == "concluded" and job.get("error"):
            raise qemu.failure(job["error"])
        return str(job["status"]), job["current-progress"] / max(1, job["total-progress"])

    def switch(self) -> None:
        """Let the disk use the other image, which is on its medium then, and close its own.

        Errors: 46 when both were not the same yet, or it failed.
        """
        state, _ = self.state()
        if state not in ("ready", "concluded"):
            text = "the disk's mirror is not complete"
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, text)
        if state == "ready":
            self._daemon.command("job-complete", {"id": JOB})
        self._conclude()
        self._daemon.drop_unused()

    def cancel(self) -> None:
        """Give it up, wherever it is; the disk stays with its own image."""
        jobs = [j for j in self._daemon.command("query-jobs") if j["id"] == JOB]
        if jobs:
            if jobs[0]["status"] != "concluded":
                self._daemon.command("block-job-cancel", {"device": JOB, "force": True})
            self._conclude()
        self._daemon.drop_unused()

    def _conclude(self) -> None:
        end = time.monotonic() + CALL_TIMEOUT_S
        while True:
            jobs = [j for j in self._daemon.command("query-jobs") if j["id"] == JOB]
            if not jobs:
                return
            if jobs[0]["status"] == "concluded":
                self._daemon.command("job-dismiss", {"id": JOB})
                return
            if time.monotonic() > end:
                raise errors.backend_failure(errors.EIO, "the mirror does not end")
            time.sleep(STEP_S)
