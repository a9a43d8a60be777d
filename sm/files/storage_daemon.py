"""One ``qemu-storage-daemon`` for each disk in use: it has the images open.

The daemon outlives the process that started it; its folder says how to reach
it: ``qmp`` (control), ``nbd`` (the disk as an NBD export named by its uuid) and
``disk`` (a file that shows the disk's content, when asked for).
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sm import errors
from sm.files import qemu
from xapi_py.base.nbd.client import NbdClient
from xapi_py.base.rpc.errors import RpcError

START_TIMEOUT_S: Final = 20.0
CALL_TIMEOUT_S: Final = 60.0
EXIT_TIMEOUT_S: Final = 30.0
MAX_SOCKET_PATH: Final = 107
FLUSHING: Final = "flush"
"""The export of an image below a disk's own, while it is flushed."""
READ_ONLY: Final = "-ro"
"""What the name of an active disk's second export, for readers, ends in."""


class StorageDaemon:
    """The daemon of one disk, running or not."""

    def __init__(self, folder: Path, disk: str) -> None:
        self.folder = folder
        self.disk = disk

    @property
    def nbd_path(self) -> Path:
        """Socket of the NBD export."""
        return self.folder / "nbd"

    @property
    def file_path(self) -> Path:
        """Where ``show_file`` shows the content."""
        return self.folder / "disk"

    def running(self) -> bool:
        """Whether it runs."""
        return self._pid() > 0

    def _pid(self) -> int:
        """Its process, or 0; a process that is not ours does not count."""
        try:
            pid = int((self.folder / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0
        ours = self._mark().encode()
        return pid if b"storage-daemon" in command[0] and ours in command else 0

    def _mark(self) -> str:
        """An argument that tells our daemon from another process with its number."""
        return f"secret,id=folder,data={self.folder}"

    def start(self, chain: Sequence[tuple[Path, str]], *, writable: bool, serve: bool) -> None:
        """Open a disk's images, and serve them at ``nbd_path``, or else show them as a file.

        ``chain``: paths and formats, the disk's own image first.  A disk that
        is served can be shown as a file too, but for reading only.
        Errors: those of ``sm.files.qemu.failure``.
        """
        if len(str(self.nbd_path)) > MAX_SOCKET_PATH:
            text = f"the path of the socket {self.nbd_path} is too long"
            raise errors.backend_failure(errors.GENERAL, text)
        if self.running():  # it serves another disk, which came from here
            raise errors.backend_failure(errors.VDI_IN_USE)
        self.clear()
        self.folder.mkdir(parents=True)
        top = node_name(chain[0][0])
        command = ["qemu-storage-daemon", "--pidfile", "pid", "--daemonize"]
        command += ["--object", self._mark()]
        command += ["--chardev", "socket,id=control,path=qmp,server=on,wait=off"]
        command += ["--monitor", "chardev=control"]
        backing: str | None = None
        for image, form in reversed(chain):
            node = _image_node(image, form, backing)
            node["read-only"] = image is not chain[0][0] or not writable
            command += ["--blockdev", json.dumps(node)]
            backing = node_name(image)
        writing = "on" if writable else "off"
        if serve:
            export = f"type=nbd,id=nbd,node-name={top},name={self.disk},writable={writing}"
            export += ",allocation-depth=on"
            command += ["--nbd-server", "addr.type=unix,addr.path=nbd", "--export", export]
        else:
            self.file_path.touch()
            export = f"type=fuse,id=file,node-name={top},mountpoint={self.file_path}"
            command += ["--export", f"{export},writable={writing}"]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=START_TIMEOUT_S,
            )
        except FileNotFoundError:
            text = "qemu-storage-daemon is not installed"
            raise errors.backend_failure(errors.GENERAL, text) from None
        if done.returncode:
            self.clear()
            raise qemu.failure(done.stderr)

    def grow(self, size: int) -> None:
        """Make the disk larger.  Its exports are away for some milliseconds: QEMU wants that.

        Errors: those of ``sm.files.qemu.failure``; the disk is served again then, too.
        """
        node = self.image()
        exports = self.command("query-block-exports")
        for export in exports:
            self._remove_export(str(export["id"]))
        try:
            self.command("block_resize", {"node-name": node, "size": size})
        finally:
            self._add_export("nbd", node, self.disk, writable=True)
            if any(e["id"] == "reader" for e in exports):
                self._add_export("reader", node, f"{self.disk}{READ_ONLY}", writable=False)

    def _remove_export(self, name: str) -> None:
        self.command("block-export-del", {"id": name, "mode": "hard"})
        end = time.monotonic() + EXIT_TIMEOUT_S
        while any(e["id"] == name for e in self.command("query-block-exports")):
            if time.monotonic() > end:
                raise errors.backend_failure(errors.EIO, "an export does not end")
            time.sleep(0.002)

    def _add_export(self, identifier: str, node: str, name: str, *, writable: bool) -> None:
        self.command(
            "block-export-add",
            {
                "type": "nbd",
                "id": identifier,
                "node-name": node,
                "name": name,
                "writable": writable,
                "allocation-depth": True,
            },
        )

    def add_reader(self) -> str:
        """Serve the disk under another name for reading only; gives the name."""
        name = f"{self.disk}{READ_ONLY}"
        exports = self.command("query-block-exports")
        if all(e["id"] != "reader" for e in exports):
            self._add_export("reader", self.image(), name, writable=False)
        return name

    def flush_image(self, image: Path) -> None:
        """Have an open image on its medium with all its tables.

        Errors: those of ``sm.files.qemu.failure``, 200.
        """
        name = node_name(image)
        if any(e["id"] == FLUSHING for e in self.command("query-block-exports")):
            self._remove_export(FLUSHING)
        self._add_export(FLUSHING, name, name, writable=False)
        try:
            client = NbdClient(str(self.nbd_path), name)
            client.flush()
            client.close()
        except OSError as problem:
            raise errors.backend_failure(errors.EIO, f"{image.name}: {problem}") from problem
        finally:
            self._remove_export(FLUSHING)

    def connected(self) -> bool:
        """Whether a process is connected to the disk's socket."""
        return accepted(self._pid(), "nbd")

    def show_file(self) -> Path:
        """Show the disk's content as a file, for reading if it is served too; gives its path."""
        if not self.shown():
            self.file_path.touch()
            self.command(
                "block-export-add",
                {
                    "type": "fuse",
                    "id": "file",
                    "node-name": self.image(),
                    "mountpoint": str(self.file_path),
                    "writable": False,
                },
            )
        return self.file_path

    def shown(self) -> bool:
        """Whether the content is shown as a file."""
        return any(e["id"] == "file" for e in self.command("query-block-exports"))

    def hide_file(self) -> None:
        """Stop showing the file, with everything written to it on the medium."""
        self._remove_export("file")

    def file_in_use(self) -> bool:
        """Whether any process has the shown file open."""
        return file_in_use(self.file_path)

    def image(self) -> str:
        """The node name of the image that takes the disk's writes now."""
        exports = self.command("query-block-exports")
        return str(next(e["node-name"] for e in exports if e["id"] != FLUSHING))

    def written_end(self, image: Path) -> int:
        """Offset behind the last byte written to an image since it was opened."""
        wanted = node_name(image)
        for node in self.command("query-blockstats", {"query-nodes": True}):
            if node.get("node-name") == wanted:
                return int(node.get("parent", node)["stats"]["wr_highest_offset"])
        return 0

    def _nodes(self) -> list[Any]:
        found: list[Any] = self.command("query-named-block-nodes", {"flat": True})
        return found

    def switch_to(self, overlay: Path) -> None:
        """Let writes go to a new, empty overlay; what was open becomes its backing file."""
        name = node_name(overlay)
        top = self.image()
        self.command("blockdev-add", _image_node(overlay, "qcow2", None))
        try:
            self.command("blockdev-snapshot", {"node": top, "overlay": name})
        except RpcError:
            self.command("blockdev-del", {"node-name": name})
            raise

    def open_image(self, image: Path, form: str) -> None:
        """Have an image open for writing besides the disk's own."""
        self.command("blockdev-add", {**_image_node(image, form, None), "read-only": False})

    def drop_unused(self) -> None:
        """Close images that the disk no longer uses, so that they can be deleted."""
        before = -1
        while before != (count := len(names := self._named())):
            before = count
            for name in names:  # those above others go first
                with contextlib.suppress(RpcError):  # those in use stay
                    self.command("blockdev-del", {"node-name": name})

    def _named(self) -> list[str]:
        names = (str(node["node-name"]) for node in self._nodes())
        return [name for name in names if not name.startswith("#")]

    def stop(self) -> None:
        """End it; everything written is on the medium when this returns."""
        pid = self._pid()
        if pid:
            with contextlib.suppress(RpcError, OSError):
                self.command("quit")
            end = time.monotonic() + EXIT_TIMEOUT_S
            while self._pid() == pid:
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                    break
                time.sleep(0.005)
        self.clear()

    def clear(self) -> None:
        """Remove what a daemon that is gone left behind."""
        if os.path.lexists(self.file_path):
            with contextlib.suppress(OSError):
                command = ["umount", "-l", str(self.file_path)]
                subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, name: str, arguments: dict[str, object] | None = None) -> Any:
        """Execute a QMP command and give its result.

        Errors: those of ``sm.files.qemu.failure``; 46 when the daemon is gone.
        """
        folder = os.open(self.folder, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(CALL_TIMEOUT_S)
                connection.connect(f"/proc/self/fd/{folder}/qmp")  # paths of sockets are short
                with connection.makefile("rwb") as stream:
                    stream.readline()
                    _exchange(stream, {"execute": "qmp_capabilities"})
                    message: dict[str, object] = {"execute": name}
                    if arguments is not None:
                        message["arguments"] = arguments
                    return _exchange(stream, message)
        except OSError as problem:
            text = f"the disk's backend does not answer: {problem}"
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, text) from problem
        finally:
            os.close(folder)


def accepted(process: int, socket_name: str) -> bool:
    """Whether a process has accepted a connection at a unix socket, by the name it bound."""
    inodes = set()
    for link in Path(f"/proc/{process}/fd").glob("*"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        named = len(words) > 7 and words[7] == socket_name
        if named and words[5] == "03" and words[6] in inodes:
            return True
    return False


def file_in_use(path: Path) -> bool:
    """Whether any process has a file open."""
    try:
        wanted = os.stat(path)
    except OSError:
        return False
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            found = os.stat(link)
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


def _exchange(stream: Any, message: dict[str, object]) -> Any:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()
    while True:
        line = stream.readline()
        if not line:
            raise ConnectionError("it closed the connection")
        answer = json.loads(line)
        if "return" in answer:
            return answer["return"]
        if "error" in answer:
            raise qemu.failure(answer["error"]["desc"])


def node_name(image: Path) -> str:
    """QEMU's name for an image: at most 31 letters, the first of them a letter."""
    return "n" + image.stem[-36:].replace("-", "")[:30]


def _image_node(image: Path, form: str, backing: str | None) -> dict[str, object]:
    file: dict[str, object] = {"driver": "file", "filename": str(image), "discard": "unmap"}
    if stat.S_ISBLK(os.stat(image).st_mode):  # other hosts may use it next: no page cache
        file |= {"driver": "host_device", "cache": {"direct": True}}
    node: dict[str, object] = {
        "driver": form,
        "node-name": node_name(image),
        "discard": "unmap",
        "file": file,
    }
    return node | ({"backing": backing} if form == "qcow2" else {})
