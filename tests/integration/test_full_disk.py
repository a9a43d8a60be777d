"""The file system of the server's state runs full: calls fail, nothing answered is lost."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import XenAPI

from tests.integration.running_pool import RunningPool, eventually

MIB = 1024 * 1024


@pytest.fixture
def pool() -> Iterator[RunningPool]:
    """A pool whose state is on a file system of 64 MiB."""
    with tempfile.TemporaryDirectory(prefix="xp-", dir="/tmp") as folder:
        small = RunningPool(Path(folder))
        small.state.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", str(small.state)]
        if os.getuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small file system needs root")
        try:
            yield small.start()
        finally:
            small.stop()
            subprocess.run(["umount", "-l", str(small.state)], check=True)


def fill(folder: Path) -> Path:
    """Take every byte that is left."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        size = MIB
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler


def answers(pool: RunningPool) -> bool:
    try:
        with pool.host().session():
            return True
    except (OSError, XenAPI.Failure):
        return False


def rename_until_refused(api: object, vm: str) -> tuple[str, XenAPI.Failure]:
    """Give the last name that the server took, and how it refused the next one."""
    taken = api.VM.get_name_label(vm)  # type: ignore[attr-defined]
    for number in range(1000):
        name = f"{number} " + "n" * 20_000
        try:
            api.VM.set_name_label(vm, name)  # type: ignore[attr-defined]
        except XenAPI.Failure as failure:
            return taken, failure
        taken = name
    raise AssertionError("the file system never ran full")


def test_a_full_file_system_refuses_writes_and_keeps_what_was_answered(pool: RunningPool) -> None:
    with pool.host().session() as session:
        api = session.xenapi
        vm = api.VM.clone(api.VM.get_by_name_label("Other install media")[0], "first")
        filler = fill(pool.state)
        taken, failure = rename_until_refused(api, vm)
        assert failure.details[0] == "INTERNAL_ERROR"
        assert "full" in failure.details[1]
        assert api.VM.get_name_label(vm) == taken
        with pytest.raises(XenAPI.Failure, match="INTERNAL_ERROR"):
            api.VM.clone(vm, "second" * 5000)
        assert api.VM.get_by_name_label("second" * 5000) == []

        filler.unlink()
        api.VM.set_name_description(vm, "there is room again")
        copy = api.VM.clone(vm, "third")
        kept = api.VM.get_uuid(vm)
        made = api.VM.get_uuid(copy)

    pool.kill("xapi")
    pool.restart()
    with pool.host().session() as session:
        api = session.xenapi
        record = api.VM.get_record(api.VM.get_by_uuid(kept))
        assert record["name_label"] == taken
        assert record["name_description"] == "there is room again"
        assert api.VM.get_name_label(api.VM.get_by_uuid(made)) == "third"


def test_a_server_starts_on_a_full_file_system(pool: RunningPool) -> None:
    with pool.host().session() as session:
        vm = session.xenapi.VM.clone(
            session.xenapi.VM.get_by_name_label("Other install media")[0], "kept"
        )
        uuid = session.xenapi.VM.get_uuid(vm)
    fill(pool.state)
    pool.kill("xapi")
    eventually(lambda: answers(pool), "the server answers again", 60)
    with pool.host().session() as session:
        assert session.xenapi.VM.get_name_label(session.xenapi.VM.get_by_uuid(uuid)) == "kept"
