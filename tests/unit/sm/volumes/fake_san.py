"""The kernel's view of LUNs as files, and programs that change it: iscsiadm, multipath.

Sessions are made in the fake ``/sys`` only; LUNs of targets are what ``targets`` says.
"""

from dataclasses import dataclass, field
from pathlib import Path

from sm.files.mounts import Outcome
from tests.unit.sm.volumes.fake_lvm import FakeLvm

MIB = 1024**2


@dataclass
class FakeTarget:
    """A target's LUNs by number: NAA name in hex and size; which log-in it wants."""

    luns: dict[int, tuple[str, int]]
    password: str = ""
    down: set[str] = field(default_factory=set)


class FakeSan(FakeLvm):
    """A host with adapters and iSCSI."""

    def __init__(self, folder: Path, host: str = "host") -> None:
        super().__init__(folder, host)
        self.sys = folder / f"sys-{host}"
        self.iscsi = folder / f"iscsi-{host}"
        for name in ("block", "class/scsi_host", "class/fc_host", "class/iscsi_session"):
            (self.sys / name).mkdir(parents=True, exist_ok=True)
        (self.sys / "class/iscsi_connection").mkdir(exist_ok=True)
        self.targets: dict[str, FakeTarget] = {}
        self.records: dict[str, str] = {}
        self._sessions = 0

    # -- the kernel

    def adapter(self, number: int, driver: str, **fc: str) -> None:
        """Add an adapter; ``fc`` are the members of its port."""
        folder = self.sys / "class" / "scsi_host" / f"host{number}"
        folder.mkdir()
        (folder / "proc_name").write_text(f"{driver}\n")
        if fc:
            port = self.sys / "class" / "fc_host" / f"host{number}"
            port.mkdir()
            for name, value in fc.items():
                (port / name).write_text(f"{value}\n")

    def disk(self, name: str, where: str, naa: str, size: int, below: str = "") -> None:
        """Add a SCSI disk at ``H:C:T:L``."""
        device = self.sys / "devices" / (below or f"host{where.partition(':')[0]}") / where
        device.mkdir(parents=True)
        (device / "type").write_text("0\n")
        (device / "vendor").write_text("TESTVEND\n")
        (device / "model").write_text("DISK\n")
        page80 = b"\0\x80\0\x06sn" + naa[-4:].encode()
        (device / "vpd_pg80").write_bytes(page80)
        identity = bytes.fromhex(naa)
        entry = bytes([1, 3, 0, len(identity)]) + identity
        (device / "vpd_pg83").write_bytes(b"\0\x83" + len(entry).to_bytes(2, "big") + entry)
        (device / "state").write_text("running\n")
        block = self.sys / "block" / name
        (block / "holders").mkdir(parents=True)
        (block / "size").write_text(f"{size // 512}\n")
        (block / "device").symlink_to(device)
        self._add_device(self.dev / name, naa, size)

    def _add_device(self, path: Path, naa: str, size: int) -> None:
        """All paths to a LUN are one medium."""
        state = self._read()
        state["devices"].setdefault(naa, {"size": size, "group": ""})
        self._write(state)
        path.parent.mkdir(exist_ok=True)
        self._media[str(path)] = naa

    def is_block(self, path: str) -> bool:
        return path in self._media or super().is_block(path)

    def run(self, *command: str, timeout_s: float = 60.0) -> Outcome:
        if command[0] == "iscsiadm":
            self.commands.append(command)
            return self._iscsiadm(list(command[1:]))
        if command[0] == "multipath":
            self.commands.append(command)
            return self._multipath(list(command[1:]))
        if command[0] != "lsblk":
            command = tuple(self._media.get(word, word) for word in command)
        return super().run(*command, timeout_s=timeout_s)

    def remove_disk(self, name: str) -> None:
        """A path is gone."""
        (self.sys / "block" / name / "device").unlink()
        (self.sys / "block" / name / "size").unlink()
        (self.sys / "block" / name / "holders").rmdir()
        (self.sys / "block" / name).rmdir()

    # -- programs

    def _multipath(self, arguments: list[str]) -> Outcome:
        if arguments[0] == "-v2":
            naa = self._media[arguments[1]]
            made = self.sys / "block" / f"dm-{naa[-2:]}"
            (made / "dm").mkdir(parents=True)
            (made / "dm" / "uuid").write_text(f"mpath-3{naa}\n")
            (made / "dm" / "name").write_text(f"3{naa}\n")
            self._add_device(self.dev / "mapper" / f"3{naa}", naa, 0)
        if arguments[0] == "-f":
            for made in (self.sys / "block").glob("dm-*"):
                for file in (made / "dm").iterdir():
                    file.unlink()
                (made / "dm").rmdir()
                made.rmdir()
        return Outcome(0, "", "")

    def _iscsiadm(self, words: list[str]) -> Outcome:
        assert words[:2] == ["-m", "node"]
        options = dict(zip(words[2::2], words[3::2], strict=False))
        iqn = options["-T"]
        if "--login" in words:
            return self._login(iqn, options["-p"], options["-I"])
        if "--logout" in words:
            return self._logout(iqn)
        if "--rescan" in words:
            return Outcome(0, "", "")
        folder = self.iscsi / "nodes" / iqn
        if options["-o"] == "new":
            record = folder / options["-p"].replace(":", ",") / options["-I"]
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text("# BEGIN RECORD 2.1.8\nnode.startup = auto\n# END RECORD\n")
        else:
            for record in folder.glob("*/*"):
                record.unlink()
        return Outcome(0, "", "")

    def _login(self, iqn: str, where: str, name: str) -> Outcome:
        record = (self.iscsi / "nodes" / iqn / where.replace(":", ",") / name).read_text()
        self.records[where] = record
        assert (self.iscsi / "ifaces" / name).exists()
        target = self.targets[iqn]
        address, port = where.partition(",")[0].rsplit(":", 1)
        if f"{address}:{port}" in target.down:
            return Outcome(8, "", "iscsiadm: Could not login: connection timed out")
        if target.password and f"node.session.auth.password = {target.password}\n" not in record:
            return Outcome(24, "", "iscsiadm: Could not login: authorization failure")
        self._sessions += 1
        number = self._sessions
        session = self.sys / "class" / "iscsi_session" / f"session{number}"
        session.mkdir()
        (session / "targetname").write_text(f"{iqn}\n")
        line = self.sys / "class" / "iscsi_connection" / f"connection{number}:0"
        line.mkdir()
        (line / "persistent_address").write_text(f"{address}\n")
        (line / "persistent_port").write_text(f"{port}\n")
        for lun, (naa, size) in target.luns.items():
            disk = f"sd{chr(ord('h') + number)}{lun}"
            self.disk(disk, f"{20 + number}:0:0:{lun}", naa, size, f"session{number}")
        return Outcome(0, "", "")

    def _logout(self, iqn: str) -> Outcome:
        for session in list((self.sys / "class" / "iscsi_session").iterdir()):
            if (session / "targetname").read_text().strip() != iqn:
                continue
            for disk in list((self.sys / "block").iterdir()):
                if f"/{session.name}/" in str((disk / "device").resolve()):
                    self.remove_disk(disk.name)
            (session / "targetname").unlink()
            session.rmdir()
        return Outcome(0, "", "")
