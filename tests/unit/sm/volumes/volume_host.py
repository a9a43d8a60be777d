"""A volume SR driver in the test's process, on files that stand for volumes."""

import json
import subprocess
from pathlib import Path
from typing import Any

from sm.volumes.lvm import PREFIX
from sm.volumes.volume_log import VolumeLog
from tests.unit.sm.files.file_host import FileHost, run, wait
from tests.unit.sm.volumes.fake_lvm import FakeLvm


class VolumeHost(FileHost):
    """A host with one lvm SR; ``lvm`` is its LVM."""

    def __init__(
        self, folder: Path, sr_type: str = "lvm", *, host: str = "host", **settings: Any
    ) -> None:
        self.lvm: FakeLvm = settings.pop("lvm", None) or FakeLvm(folder, host)
        super().__init__(folder, sr_type, system=self.lvm, host=host, **settings)
        self.config = {"device": self.lvm.device()}

    def start(self, config: dict[str, str] | None = None, **sm_config: str) -> Any:
        self.config = config or self.config
        names = ("name", "text", 0)
        self.stored = wait(self.driver.create(self.sr_uuid, self.config, sm_config, *names))
        return self.attach()

    def attach(self, config: dict[str, str] | None = None, sr: str = "") -> Any:
        return super().attach(config or self.config, sr)

    @property
    def group(self) -> str:
        return PREFIX + self.sr_uuid

    @property
    def data(self) -> Path:
        return self.folder / "volumes" / self.group

    def records(self) -> dict[str, dict[str, Any]]:
        log = VolumeLog(self.data / "MGT", "reader")
        log.close()
        return log.records

    def image(self, vdi: str) -> Path:
        """The volume at the end of a disk's chain, active or not."""
        node = self.records()[f"vdi/{vdi}"]["node"]
        (found,) = (p for p in self.data.iterdir() if p.name.endswith(node))
        return found

    def source(self, vdi: str) -> str:
        """A disk with its chain for QEMU, from the records, active or not."""
        records = self.records()
        name, chain = records[f"vdi/{vdi}"]["node"], []
        while name:
            record = records[f"node/{name}"]
            prefix = "LV-" if record["format"] == "raw" else "QCOW2-"
            chain.append((self.data / f"{prefix}{name}", record["format"]))
            name = record["parent"]
        found = None
        for path, form in reversed(chain):
            above: dict[str, Any] = {
                "driver": form,
                "file": {"driver": "file", "filename": str(path)},
            }
            if form == "qcow2":
                above["backing"] = found
            found = above
        return f"json:{json.dumps(found)}"

    def write(self, vdi: str, offset: int, length: int, pattern: int) -> None:
        run("qemu-io", "-c", f"write -P {pattern} {offset} {length}", self.source(vdi))

    def content(self, vdi: str) -> bytes:
        target = self.folder / "content.raw"
        run("qemu-img", "convert", "-U", "-O", "raw", self.source(vdi), target)
        data = target.read_bytes()
        target.unlink()
        return data

    def check(self) -> None:
        """Every image is without damage, and none is left over or active for nothing."""
        found, names = self.vdis(), set()
        for path in self.data.iterdir():
            prefix, _, name = path.name.partition("-")
            if prefix in ("QCOW2", "LV"):
                names.add(name)
            if prefix == "QCOW2":
                file = {"driver": "file", "filename": str(path)}
                alone = json.dumps({"driver": "qcow2", "file": file, "backing": None})
                command = ["qemu-img", "check", "-U", "-q", f"json:{alone}"]
                done = subprocess.run(command, capture_output=True, text=True)
                assert done.returncode in (0, 3), done.stdout + done.stderr
        assert len(names) == sum(1 for v in found.values() if v.type != "cbt_metadata")
        for vdi in found.values():
            assert not vdi.missing and (not vdi.parent or not found[vdi.parent].managed)
