"""A file SR driver in the test's process, and what its disks really hold, by qemu-img."""

import shutil
import subprocess
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sm.contract import Vdi, VdiSpec
from sm.drivers.file_based import FileBasedSr, FileDriver, Settings
from sm.files.mounts import System
from sm.files.record_log import RecordLog
from sm.plugins import every_plugin
from tests.unit.sm.files.in_process import InProcessChildren
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

T = TypeVar("T")
MIB = 1024**2
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-storage-daemon") is None,
    reason="qemu-storage-daemon is missing (Debian: qemu-system-common, qemu-utils)",
)


class FileHost:
    """A host with one SR in a folder; ``crash`` is the step at which the next call dies."""

    def __init__(
        self,
        folder: Path,
        sr_type: str = "file",
        *,
        system: System | None = None,
        host: str = "host",
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.crash = ""
        self.notes: list[tuple[str, ...]] = []
        self.children = InProcessChildren(system)
        (folder / "disks").mkdir(parents=True, exist_ok=True)
        given = Settings(
            folder / f"run-{host}",
            host,
            self.children,
            lambda *identifier: self.notes.append(identifier),
            watch_s=0,
            crash=self._take_crash,
            **settings,
        )
        self.driver = FileDriver(every_plugin()[sr_type], given)
        self.sr_uuid = new_uuid()
        self.sr: FileBasedSr

    def _take_crash(self) -> str:
        step, self.crash = self.crash, ""
        return step

    def start(self, config: dict[str, str] | None = None) -> FileBasedSr:
        """Create and attach the SR."""
        config = config or {"location": str(self.folder / "disks")}
        wait(self.driver.create(self.sr_uuid, config, {}, "name", "text", 0))
        return self.attach(config)

    def attach(self, config: dict[str, str] | None = None, sr: str = "") -> FileBasedSr:
        """Attach the SR, or another one."""
        config = config or {"location": str(self.folder / "disks")}
        attached = wait(self.driver.attach(sr or self.sr_uuid, config, {}))
        assert isinstance(attached, FileBasedSr)
        self.sr = attached
        return attached

    def make(self, size: int = 8 * MIB, **members: Any) -> Vdi:
        return wait(self.sr.vdi_create(VdiSpec(**{"virtual_size": size, **members})))

    def vdis(self) -> dict[str, Vdi]:
        return {v.uuid: v for v in wait(self.sr.scan())}

    @property
    def sr_folder(self) -> Path:
        return self.folder / "disks" / self.sr_uuid

    def image(self, vdi: str) -> Path:
        """The file at the end of a disk's chain."""
        log = RecordLog(self.sr_folder / "metadata")
        node = log.records[f"vdi/{vdi}"]["node"]
        log.close()
        (found,) = (self.sr_folder / "nodes").glob(f"{node}.*")
        return found

    def write(self, vdi: str, offset: int, length: int, pattern: int) -> None:
        """Write to a disk that is not in use, as a guest would."""
        image = self.image(vdi)
        form = image.suffix[1:]
        command = f"write -P {pattern} {offset} {length}"
        run("qemu-io", "-f", form, "-c", command, str(image))

    def write_live(self, vdi: str, offset: int, length: int, pattern: int) -> None:
        """Write to a disk that is activated, through its backend."""
        where = wait(self.sr.vdi_attach(vdi, True)).uri
        write = f"write -P {pattern} {offset} {length}"
        run("qemu-io", "-f", "raw", "-c", write, "-c", "flush", where)

    def content(self, vdi: str) -> bytes:
        """All a disk holds; images in use are read as they are on the medium."""
        target = self.folder / "content.raw"
        image = self.image(vdi)
        run("qemu-img", "convert", "-U", "-f", image.suffix[1:], "-O", "raw", image, target)
        data = target.read_bytes()
        target.unlink()
        return data

    def check(self) -> None:
        """Every image is without damage, and none is left over."""
        found = self.vdis()
        names = set()
        for path in (self.sr_folder / "nodes").iterdir():
            names.add(path.stem)
            if path.suffix == ".qcow2":
                run("qemu-img", "check", "-U", "-q", "-f", "qcow2", path)
        assert len(names) == sum(1 for v in found.values() if v.type != "cbt_metadata")
        for vdi in found.values():
            assert not vdi.missing and (not vdi.parent or not found[vdi.parent].managed)

    def close(self) -> None:
        """Detach, with everything deactivated."""
        for vdi in self.vdis():
            wait(self.sr.vdi_deactivate(vdi))
        wait(self.sr.detach())


def run(*command: object) -> None:
    """Run a command that must succeed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Give the result of a coroutine that waits for nothing."""
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    result: T = found[0]
    return result


def code(coroutine: Coroutine[Any, Any, object]) -> str:
    """The API error code of a call that must fail in the backend."""
    with pytest.raises(RpcError) as problem:
        wait(coroutine)
    assert problem.value.name == "Storage_backend_error", problem.value
    return str(problem.value.params[0])
