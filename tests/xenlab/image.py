"""Makes the parts of a lab machine: its Debian, and what of ours it needs.

Two cached layers.  ``base`` is Debian itself and takes minutes; it changes with the list of
packages.  ``extra`` holds the first file system, the guests and the Python packages and takes
seconds.  The project's own source is in neither: it is copied into the running machine.
"""

import compileall
import configparser
import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.xenlab import boot_sector, cache, cpio, kernel, packages
from tests.xenlab.errors import LabError, LabUnavailable

ROOT = Path(__file__).parent.parent.parent
FILES = Path(__file__).parent / "machine_files"
BASE_SIZE, EXTRA_SLACK_MB = "16G", 64
DEBIAN_TIMEOUT_S, TOOL_TIMEOUT_S = 900.0, 300.0
PYTHON = (3, 11)
RECIPE = 1  # part of the key: raise it when code here makes something else of the same inputs
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "zstd": "zstd",
    "setpriv": "util-linux",
}
"""Programs a lab needs and the Debian packages that have them."""

PLATFORMS = [
    "manylinux2014_x86_64",
    *(f"manylinux_2_{n}_x86_64" for n in (17, 24, 26, 27, 28, 31, 34)),
]


@dataclass(frozen=True)
class Image:
    """The files a machine starts from.  ``name`` changes with any of them."""

    name: str
    base: Path
    extra: Path

    @property
    def root_disk(self) -> Path:
        return self.base / "root.img"

    @property
    def extra_disk(self) -> Path:
        return self.extra / "extra.img"

    @property
    def initramfs(self) -> Path:
        return self.extra / "initramfs"

    @property
    def xen(self) -> Path:
        return self.base / "xen"

    @property
    def kernel(self) -> Path:
        return self.base / "vmlinuz"

    @property
    def elf_kernel(self) -> Path:
        return self.base / "vmlinux"


def missing_tools() -> dict[str, str]:
    """Give the programs that are not here, with the Debian package of each."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return {tool: package for tool, package in TOOLS.items() if not shutil.which(tool, path=path)}


def image() -> Image:
    """Give the image, made now if need be.  Errors: LabUnavailable."""
    if missing := missing_tools():
        raise LabUnavailable(f"not installed: {' '.join(sorted(set(missing.values())))}")
    base_key = cache.key(RECIPE, packages.packages(), packages.RELEASE, BASE_SIZE)
    base = cache.entry("base", base_key, _make_base)
    ours = [FILES / "agent.py", FILES / "init", FILES / "first", FILES / "guest_init"]
    extra_key = cache.key(
        *(RECIPE, base_key, requirements(), packages.MODULES, packages.GUEST_MODULES, PLATFORMS),
        *(boot_sector.disk(), *ours),
    )
    extra = cache.entry("extra", extra_key, lambda folder: _make_extra(folder, base))
    return Image(f"{base_key}-{extra_key}", base, extra)


def requirements() -> list[str]:
    """Give the Python packages a machine needs: the project's own and those of tests."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    own = setup["options"]["install_requires"].split("\n")
    return [line.strip() for line in own if line.strip()] + list(packages.TEST_TOOLS)


def _run(*words: object, timeout: float = TOOL_TIMEOUT_S, **options: str) -> str:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **options}
    environment["PATH"] = environment.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{words[0]} took more than {timeout:.0f} s") from None
    if done.returncode:
        raise LabError(f"{words[0]} failed: {(done.stderr + done.stdout)[-3000:]}")
    return done.stdout


def _make_base(folder: Path) -> None:
    if os.geteuid() != 0:
        raise LabUnavailable("the lab's Debian is made by root only")
    tree = folder / "tree"
    try:
        _debian(tree)
        (boot,) = (tree / "boot").glob("vmlinuz-*")
        shutil.copyfile(boot, folder / "vmlinuz")
        (folder / "vmlinux").write_bytes(kernel.uncompressed(boot.read_bytes()))
        (hypervisor,) = (tree / "boot").glob("xen-4*.gz")
        (folder / "xen").write_bytes(gzip.decompress(hypervisor.read_bytes()))
        _run(
            *("mke2fs", "-q", "-t", "ext4", "-d", tree, "-L", "lab", "-m", "0"),
            *("-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"),
            *(folder / "root.img", BASE_SIZE),
        )
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _debian(tree: Path) -> None:
    left_out = [f"path-exclude=/usr/share/{what}/*" for what in ("doc", "man", "locale", "info")]
    # These do not start inside the machine by themselves: it has its own first process.
    try:
        _run(
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--quiet"),
            *(f"--dpkgopt={option}" for option in (*left_out, "force-unsafe-io")),
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Retries "3"',
            f"--include={','.join(packages.packages())}",
            *(packages.RELEASE, tree, *packages.sources()),
            timeout=DEBIAN_TIMEOUT_S,
            INITRD="No",  # no initial file system is made: the lab has its own
        )
    except LabError as error:
        raise LabUnavailable(f"Debian cannot be fetched or unpacked: {error}") from None


def _make_extra(folder: Path, base: Path) -> None:
    disk = BaseDisk(base / "root.img", folder)
    tree = folder / "tree"
    (tree / "guest").mkdir(parents=True)
    _python_packages(tree / "python")
    shutil.copyfile(base / "vmlinux", tree / "guest" / "vmlinux")
    shutil.copyfile(base / "vmlinuz", tree / "guest" / "vmlinuz")
    (tree / "guest" / "initramfs.gz").write_bytes(gzip.compress(_guest(disk), 6, mtime=0))
    (tree / "guest" / "hvm.img").write_bytes(boot_sector.disk())
    (folder / "initramfs").write_bytes(_first_files(disk))
    used = int(_run("du", "-sm", tree).split()[0])
    _run(
        *("mke2fs", "-q", "-t", "ext4", "-d", tree, "-L", "extra"),
        *("-m", "0", "-O", "^has_journal"),
        *(folder / "extra.img", f"{used * 11 // 10 + EXTRA_SLACK_MB}M"),
    )
    shutil.rmtree(tree)


def _python_packages(target: Path) -> None:
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input"),
        *("--disable-pip-version-check", "--target", target, "--only-binary=:all:"),
        *("--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3"),
        *("--abi=none", *(f"--platform={name}" for name in PLATFORMS)),
        *requirements(),
    )
    if sys.version_info[:2] == PYTHON:  # the machine's own Python takes long to compile them
        compileall.compile_dir(
            target, quiet=2, stripdir=str(target), prependdir="/lab/extra/python"
        )


class BaseDisk:
    """Reads files out of the base's disk without mounting it."""

    def __init__(self, disk: Path, scratch: Path) -> None:
        self._disk = disk
        self._scratch = scratch / "read"
        (version,) = self.names("/usr/lib/modules")
        self._modules = f"/usr/lib/modules/{version}"

    def names(self, folder: str) -> list[str]:
        listing = _run("debugfs", "-R", f"ls -p {folder}", self._disk)
        found = [line.split("/")[5] for line in listing.splitlines() if line.startswith("/")]
        return [name for name in found if name not in (".", "..")]

    def read(self, path: str) -> bytes:
        """Read a file; symbolic links are followed."""
        for _ in range(5):
            self._scratch.unlink(missing_ok=True)
            shown = _run("debugfs", "-R", f"stat {path}", self._disk)
            if "Type: symlink" not in shown:
                _run("debugfs", "-R", f"dump {path} {self._scratch}", self._disk)
                if not self._scratch.exists():
                    break
                data = self._scratch.read_bytes()
                self._scratch.unlink()
                return data
            target = shown.split("Fast link dest:")[1].strip().splitlines()[0].strip('"')
            path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        raise LabError(f"the lab's Debian has no {path}")

    def modules(self, wanted: Sequence[str]) -> dict[str, bytes]:
        """Give modules with those they need, by file name, in the order to load them."""
        text = self.read(f"{self._modules}/modules.dep").decode()
        order = kernel.load_order(kernel.parse_dependencies(text), wanted)
        return {Path(path).name: self.read(f"{self._modules}/{path}") for path in order}


def _with_modules(modules: dict[str, bytes]) -> dict[str, cpio.File | cpio.Link]:
    content: dict[str, cpio.File | cpio.Link] = {
        f"lib/modules/{name}": cpio.File(data) for name, data in modules.items()
    }
    content["modules"] = cpio.File("".join(f"/lib/modules/{name}\n" for name in modules).encode())
    for folder in ("proc", "sys", "mnt", "tmp"):
        content[f"{folder}/.keep"] = cpio.File(b"")
    return content


def _first_files(disk: BaseDisk) -> bytes:
    content = _with_modules(disk.modules(packages.MODULES))
    content["bin/busybox"] = cpio.File(disk.read("/usr/bin/busybox"), 0o755)
    content["init"] = cpio.File((FILES / "first").read_bytes(), 0o755)
    content["lab/init"] = cpio.File((FILES / "init").read_bytes(), 0o755)
    content["lab/agent.py"] = cpio.File((FILES / "agent.py").read_bytes())
    return cpio.archive(content)


def _guest(disk: BaseDisk) -> bytes:
    content = _with_modules(disk.modules(packages.GUEST_MODULES))
    content["bin/busybox"] = cpio.File(disk.read("/usr/bin/busybox"), 0o755)
    content["bin/sh"] = cpio.Link("busybox")
    content["init"] = cpio.File((FILES / "guest_init").read_bytes(), 0o755)
    for word in ("poweroff", "reboot", "halt"):
        # The kernel starts these when the toolstack asks it to stop: it must really stop.
        text = f"#!/bin/busybox sh\nexec /bin/busybox {word} -f\n"
        content[f"sbin/{word}"] = cpio.File(text.encode(), 0o755)
    _add_xenstore_client(content, disk)
    return cpio.archive(content)


def _add_xenstore_client(content: dict[str, cpio.File | cpio.Link], disk: BaseDisk) -> None:
    libraries = "/usr/lib/x86_64-linux-gnu"
    content["usr/bin/xenstore"] = cpio.File(disk.read("/usr/bin/xenstore"), 0o755)
    for command in ("read", "write", "rm", "list", "exists", "watch"):
        content[f"bin/xenstore-{command}"] = cpio.Link("/usr/bin/xenstore")
    for name in ("libxenstore.so.4", "libxentoolcore.so.1", "libc.so.6"):
        content[f"lib/x86_64-linux-gnu/{name}"] = cpio.File(disk.read(f"{libraries}/{name}"), 0o755)
    loader = disk.read(f"{libraries}/ld-linux-x86-64.so.2")
    content["lib64/ld-linux-x86-64.so.2"] = cpio.File(loader, 0o755)
