"""What a paravirtual guest boots: files named by its VM, or found on its disk by pygrub.

What pygrub gives was chosen by the guest: only files in the folder made for
this one run are taken.
"""

import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from twisted.internet.utils import getProcessOutputAndValue

from xenops import errors
from xenops.backends.xen.boot_disk import BootDisk, NoBootDisk
from xenops.backends.xen.host import XenHost
from xenops.metadata import VmConfig

_MARK: Final = "RuntimeError: "


@dataclass(frozen=True, slots=True)
class BootFiles:
    """Paths to load; leaving the block removes those that were made for it."""

    kernel: str = ""
    ramdisk: str = ""
    cmdline: str = ""
    folder: Path | None = None

    def __enter__(self) -> "BootFiles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class Bootloader:
    """Finds what to boot."""

    def __init__(self, host: XenHost) -> None:
        self._host = host

    async def boot_files(self, domid: int, vm: VmConfig, disk: str) -> BootFiles:
        """Give the files of a guest without emulated hardware.

        Errors: Bootloader_error when the disk has nothing to boot,
        Domain_not_built when a named file is missing.
        """
        if vm.ty == "HVM":
            return BootFiles()
        if not vm.pv.direct:
            return await self._pygrub(domid, vm, disk)
        for path in filter(None, (vm.pv.kernel, vm.pv.ramdisk)):
            if not os.path.isfile(path):
                raise errors.domain_not_built(f"{path}: there is no such file")
        return BootFiles(vm.pv.kernel, vm.pv.ramdisk or "", vm.pv.cmdline)

    async def _pygrub(self, domid: int, vm: VmConfig, disk: str) -> BootFiles:
        if not disk:
            raise errors.bootloader_error(vm.id, "the VM has no bootable disk")
        folder = Path(tempfile.mkdtemp(prefix=f"boot-{domid}-", dir=self._host.run_folder))
        try:
            async with BootDisk(self._host, disk, folder) as path:
                output = await self._run(vm, path, folder)
            return _parsed(vm, output, folder)
        except NoBootDisk as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise errors.bootloader_error(vm.id, str(error)) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    async def _run(self, vm: VmConfig, disk: str, folder: Path) -> str:
        program = _program(vm.pv.bootloader)
        if program is None:
            raise errors.bootloader_error(vm.id, f"there is no boot loader {vm.pv.bootloader}")
        arguments = ["--output-format=simple", "-q", f"--output-directory={folder}"]
        arguments += [*shlex.split(vm.pv.bootloader_args), disk]
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/"}
        out, complaints, status = await getProcessOutputAndValue(
            program, arguments, environment, reactor=self._host.reactor
        )
        if status != 0:
            words = complaints.decode("utf-8", "replace").strip()
            text = words.rpartition(_MARK)[2] if _MARK in words else words.rpartition("\n")[2]
            raise errors.bootloader_error(vm.id, text or f"{program} failed")
        return str(out.decode("utf-8", "replace"))


def _program(name: str) -> str | None:
    if "/" in name:
        return name if os.access(name, os.X_OK) else None
    found = sorted(Path("/usr/lib").glob(f"xen*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _parsed(vm: VmConfig, output: str, folder: Path) -> BootFiles:
    found: dict[str, str] = {}
    for line in output.replace("\0", "\n").splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        if word not in ("kernel", "ramdisk", "args") or word in found:
            raise errors.bootloader_error(vm.id, f"the boot loader said {line.strip()!r}")
        found[word] = rest.strip()
    for word in ("kernel", "ramdisk"):
        path = found.get(word)
        if path and Path(os.path.realpath(path)).parent != Path(os.path.realpath(folder)):
            raise errors.bootloader_error(vm.id, f"malicious guest: {word} {path!r}")
    if not found.get("kernel"):
        raise errors.bootloader_error(vm.id, "the boot loader found no kernel")
    parts = (found.get("args", ""), vm.pv.legacy_args, vm.pv.extra_args)
    cmdline = " ".join(part for part in parts if part)
    return BootFiles(found["kernel"], found.get("ramdisk", ""), cmdline, folder)
