"""``qemu-img``, with failures as the storage interface names them."""

import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sm import errors
from xapi_py.base.rpc.errors import RpcError

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 60.0
"""For what touches only headers and tables."""


def run(*arguments: object) -> str:
    """Run ``qemu-img`` and give its output.  Errors: those of ``failure``."""
    command = ["qemu-img", *map(str, arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise errors.backend_failure(errors.GENERAL, "qemu-img is not installed") from None
    if done.returncode:
        raise failure(done.stderr or done.stdout)
    return done.stdout


def failure(text: str) -> RpcError:
    """Give the error of what a QEMU tool said before it failed.

    44 for a full file system, VDI_IN_USE for an image someone has open, 46
    for one that is missing or damaged, 200 for failed input or output.
    """
    last = (text.strip().splitlines() or ["no reason given"])[-1]
    if "No space left" in text or "Disk quota" in text:
        return errors.backend_failure(errors.NO_SPACE, last)
    if 'Failed to get "' in text:
        return errors.backend_failure(errors.VDI_IN_USE)
    if "Input/output error" in text:
        return errors.backend_failure(errors.EIO, last)
    damaged = ("not in qcow2 format", "No such file", "orrupt", "backing file", "infinite loop")
    if any(word in text for word in damaged):
        return errors.backend_failure(errors.VDI_UNAVAILABLE, last)
    return errors.backend_failure(errors.GENERAL, last)


def _named(image: Path | str, form: str = "qcow2") -> tuple[str, ...]:
    """Arguments that name an image; one given as ``json:`` says itself what it is."""
    return (str(image),) if str(image).startswith("json:") else ("-f", form, str(image))


def resize(image: Path | str, form: str, size: int) -> None:
    """Make an image that is not open larger."""
    run("resize", "-q", *_named(image, form), size)


def reclaim(image: Path | str) -> None:
    """Free clusters of an image that is not open which nothing refers to: a killed writer's."""
    try:
        done = subprocess.run(
            ("qemu-img", "check", "-q", "-r", "leaks", *_named(image)),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        log.warning("%s is not checked: %s", image, problem)
        return
    if done.returncode:
        log.warning("%s: %s", image, (done.stderr or done.stdout).strip()[-500:])


def set_backing(image: Path, backing_name: str, backing_format: str) -> None:
    """Write another backing file into an image's header; data stays as it is."""
    run("rebase", "-q", "-u", "-f", "qcow2", "-F", backing_format, "-b", backing_name, image)


def drop_backing(image: Path) -> None:
    """Make an image stand alone; what it does not hold reads as zeros."""
    run("rebase", "-q", "-u", "-f", "qcow2", "-b", "", image)


def commit_command(image: Path) -> Sequence[str]:
    """The command that writes an image's data into its backing file, with progress."""
    return ("qemu-img", "commit", "-p", "-d", "-f", "qcow2", str(image))


def convert_command(
    source: str, source_format: str, target: Path, target_format: str, *, blank: bool = True
) -> Sequence[str]:
    """The command that copies a disk into a new image, with progress.

    ``blank``: the image reads as zeros.  A source without a format says itself what it is.
    """
    return (
        *("qemu-img", "convert", "-p", "-U", "-n", "-W", "-m", "8"),
        *(("--target-is-zero",) if blank else ()),
        *(("-f", source_format) if source_format else ()),
        *("-O", target_format, source, str(target)),
    )


def add_bitmap(image: Path | str, name: str, granularity: int) -> None:
    """Start recording changes in an image that is not open."""
    run("bitmap", "--add", "-g", granularity, *_named(image), name)


def remove_bitmap(image: Path | str, name: str) -> None:
    """Stop recording changes in an image that is not open."""
    run("bitmap", "--remove", *_named(image), name)


def merge_bitmap(image: Path | str, source: Path | str, name: str) -> None:
    """Add the bits of another image's bitmap to that of an image."""
    form = () if str(source).startswith("json:") else ("-F", "qcow2")
    run("bitmap", "--merge", name, *form, "-b", source, *_named(image), name)


def flush(descriptor: int) -> None:
    """Have a written file on its medium."""
    os.fsync(descriptor)
