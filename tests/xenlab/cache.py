"""Things that take long to make, kept by the hash of what they are made from.

An entry is a folder ``<kind>-<hash>``.  It appears whole or not at all, and only one process
makes it while others wait.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.xenlab.errors import LabError

LOCK_TIMEOUT_S = 1200.0
KEPT_DAYS = 14.0


def root() -> Path:
    """Give the folder of all entries."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "xapi-py" / "xenlab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(*parts: object) -> str:
    """Hash what an entry depends on; files by their content."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def entry(kind: str, name: str, make: Callable[[Path], None]) -> Path:
    """Give the folder of an entry, made by ``make(folder)`` when it is not there."""
    final = root() / f"{kind}-{name}"
    if not final.exists():
        with _lock(f"{kind}-{name}"):
            if not final.exists():
                _make(final, make)
    with contextlib.suppress(OSError):
        os.utime(final)  # lately used: see prune
    return final


def _make(final: Path, make: Callable[[Path], None]) -> None:
    work = Path(tempfile.mkdtemp(prefix=f"making-{final.name}-", dir=final.parent))
    try:
        make(work)
        work.chmod(0o755)
        work.rename(final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    with (root() / f".lock-{name}").open("w") as held:
        until = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise LabError(f"somebody else makes {name} for too long") from None
                time.sleep(0.2)
        yield


def prune(days: float = KEPT_DAYS) -> list[str]:
    """Remove what nobody used for ``days`` days; give the names."""
    gone = []
    for folder in root().iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > days * 86400:
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder.name)
    return gone
