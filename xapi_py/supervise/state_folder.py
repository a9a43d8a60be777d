"""The state folder: one supervisor at a time, the password, files others read."""

import contextlib
import fcntl
import json
import os
import secrets
import signal
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from xapi_py.supervise.options import UsageError

ORPHANS_S: Final = 10
"""How long the daemons of a killed supervisor may take to be gone."""

_ALPHABET: Final = string.ascii_letters + string.digits


def make(folder: Path) -> None:
    """Make the state folder, for its owner only.

    Errors: UsageError when that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error


def lock(folder: Path) -> int:
    """Take the folder for this process and give the descriptor that holds it.

    Every daemon inherits the descriptor: the folder stays taken until the last
    of them is gone, even when their supervisor was killed.
    Errors: UsageError when a supervisor that is alive has it.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _wait_for_orphans(folder, descriptor)
    sign(descriptor)
    return descriptor


def sign(descriptor: int) -> None:
    """Write into the lock file that this process has the folder."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def owner(folder: Path) -> int | None:
    """Give the process that has the folder now, None when nothing runs on it."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0)
        return int(text) if text.strip().isdigit() else None
    finally:
        os.close(descriptor)


def _wait_for_orphans(folder: Path, descriptor: int) -> None:
    text = os.pread(descriptor, 32, 0).strip()
    if text.isdigit() and _alive(int(text)):
        raise UsageError(
            f"{folder} is in use by process {text.decode()}; end that one with "
            f"scripts/run --stop --state {folder}, or choose another --state"
        )
    with _alarm(ORPHANS_S):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except TimeoutError as error:
            raise UsageError(f"{folder}: daemons of a killed supervisor still run") from error


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def password(path: Path, given: str | None) -> str:
    """Give the password of root: the one given, the one kept, or a new one; and keep it.

    Mode 0600 from the moment the file exists.
    """
    if given is None:
        with contextlib.suppress(FileNotFoundError):
            kept = path.read_text(encoding="utf-8").rstrip("\n")
            if kept:
                return kept
        given = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    write(path, given + "\n")
    return given


def write(path: Path, text: str) -> None:
    """Replace a file at once, mode 0600: a reader sees the old one or the new one.

    Errors: UsageError when it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def ready_text(secret: str, answers: Mapping[int, Mapping[str, object]]) -> str:
    """Make the ready file: what xapi of each host announced, by host number.

    Every host is a pool of its own for now.
    """
    members = ("address", "http", "https", "socket")
    pools = []
    for host in sorted(answers):
        entry = {name: answers[host].get(name) for name in members}
        pools.append({"master": entry["address"], "hosts": [entry]})
    return json.dumps({"user": "root", "password": secret, "pools": pools}, indent=1) + "\n"
