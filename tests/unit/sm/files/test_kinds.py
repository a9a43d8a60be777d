"""SR types on files: bad keys, servers that are not there, probes.  One test a row of failures."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sm.contract import VdiSpec
from sm.files.mounts import Outcome, System
from tests.unit.sm.files.file_host import MIB, FileHost, code, needs_qemu, wait
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError


class Network(System):
    """Servers that exist only in answers; a mount is a link to ``export``."""

    def __init__(self, export: Path) -> None:
        self.export = export
        self.commands: list[tuple[str, ...]] = []
        self.credentials = ""
        self.answers: dict[str, Outcome] = {}
        self.names = {"server": "192.0.2.1"}
        self.open_ports = {2049, 445}

    def run(self, *command: str, timeout_s: float = 60.0) -> Outcome:
        self.commands.append(command)
        name = re.search(r"credentials=([^,]+)", " ".join(command))
        if name:
            self.credentials = Path(name[1]).read_text()
            assert os.stat(name[1]).st_mode & 0o777 == 0o600
        found = self.answers.get(command[0], Outcome(0, "", ""))
        if command[0] == "mount" and not found.status:
            Path(command[4]).rmdir()
            Path(command[4]).symlink_to(self.export)
        if command[0] == "umount":
            Path(command[1]).unlink()
        return found

    def resolve(self, name: str) -> str:
        if name not in self.names:
            raise OSError("Name or service not known")
        return self.names[name]

    def connect(self, address: str, port: int) -> None:
        if port not in self.open_ports:
            raise ConnectionRefusedError("Connection refused")

    def mounted(self, folder: Path) -> bool:
        return folder.is_symlink()


@pytest.fixture
def network(tmp_path: Path) -> Network:
    (tmp_path / "export").mkdir()
    return Network(tmp_path / "export")


NFS = {"server": "server", "serverpath": "/export"}
SMB = {"server": r"\\server\share", "username": r"DOM\alice", "password": "secret,1"}


def create(host: FileHost, config: Mapping[str, str]) -> RpcError:
    with pytest.raises(RpcError) as problem:
        wait(host.driver.create(new_uuid(), config, {}, "", "", 0))
    return problem.value


def refusal(host: FileHost, config: Mapping[str, str]) -> str:
    """The number of an SR.create that fails, and that nothing is left mounted."""
    problem = create(host, config)
    assert not list((host.folder / "run-host").glob("mounts/*"))
    return str(problem.params[0]).removeprefix("SR_BACKEND_FAILURE_")


@pytest.fixture
def nfs(tmp_path: Path, network: Network) -> FileHost:
    return FileHost(tmp_path, "nfs", system=network)


@pytest.fixture
def smb(tmp_path: Path, network: Network) -> FileHost:
    return FileHost(tmp_path, "smb", system=network)


@pytest.fixture
def iso(tmp_path: Path, network: Network) -> Iterator[FileHost]:
    yield FileHost(tmp_path, "iso", system=network)


def test_nfs_without_server_or_path(nfs: FileHost, network: Network) -> None:
    exports = "/export/vms (everyone)\n/export/a b 10.0.0.0/8\n"
    network.answers["showmount"] = Outcome(0, exports, "")
    assert refusal(nfs, {}) == "102"
    problem = create(nfs, {"server": "server"})
    assert problem.params[0] == "SR_BACKEND_FAILURE_101"
    found = ElementTree.fromstring(str(problem.params[3]))
    assert [e.findtext("Path") for e in found.iter("Export")] == ["/export/vms", "/export/a b"]
    assert found.findtext("Export/Accesslist") == "(everyone)"


def test_nfs_server_that_is_not_there(nfs: FileHost, network: Network) -> None:
    assert refusal(nfs, {**NFS, "server": "nowhere"}) == "140"
    network.open_ports.clear()
    assert refusal(nfs, NFS) == "108"


def test_nfs_versions(nfs: FileHost, network: Network) -> None:
    assert refusal(nfs, {**NFS, "nfsversion": "5"}) == "72"
    network.answers["rpcinfo"] = Outcome(0, "   100003  4,3  tcp  nfs  superuser\n", "")
    nfs.start({**NFS, "nfsversion": "4.1"})
    assert any("vers=4.1" in word for c in network.commands for word in c)
    network.answers["rpcinfo"] = Outcome(0, "   100003  4  tcp  nfs  superuser\n", "")
    wait(nfs.sr.detach())
    assert refusal(nfs, {**NFS, "nfsversion": "3"}) == "72"


def test_nfs_path_that_is_not_exported(nfs: FileHost, network: Network) -> None:
    network.answers["mount"] = Outcome(32, "", "access denied by server")
    problem = create(nfs, NFS)
    text = "NFS mount error [opterr=mount failed on server server with return code 32]"
    assert problem.params[:3] == ("SR_BACKEND_FAILURE_73", "", text)


def test_nfs_mount_is_soft_and_takes_options(nfs: FileHost, network: Network) -> None:
    nfs.start({**NFS, "options": "nolock,rsize=4096"})
    (mount,) = {c for c in network.commands if c[0] == "mount"}
    assert mount[:4] == ("mount", "-t", "nfs", "server:/export")
    words = mount[-1].split(",")
    assert {"soft", "vers=3", "proto=tcp", "timeo=200", "retrans=4", "nolock"} <= set(words)
    wait(nfs.sr.detach())


def test_export_that_cannot_be_written(nfs: FileHost, network: Network) -> None:
    network.export = Path("/proc/self")  # a folder nobody can make files in
    assert refusal(nfs, NFS) == "461"


def test_sr_that_exists_is_not_made_again(nfs: FileHost, network: Network) -> None:
    nfs.start(NFS)
    wait(nfs.sr.detach())
    with pytest.raises(RpcError) as problem:
        wait(nfs.driver.create(nfs.sr_uuid, NFS, {}, "", "", 0))
    assert problem.value.params[0] == "SR_BACKEND_FAILURE_42"


def test_sr_that_is_not_there_is_not_attached(nfs: FileHost) -> None:
    assert code(nfs.driver.attach(new_uuid(), NFS, {})) == "SR_BACKEND_FAILURE_47"


def test_nfs_probe_lists_srs_and_versions(nfs: FileHost, network: Network) -> None:
    nfs.start(NFS)
    (network.export / "other folder").mkdir()
    network.answers["rpcinfo"] = Outcome(0, "   100003  4,3  tcp  nfs  superuser\n", "")
    found = ElementTree.fromstring(wait(nfs.driver.probe({**NFS, "probeversion": ""}, {})))
    assert [e.text for e in found.iter("UUID")] == [nfs.sr_uuid]
    assert [e.text for e in found.iter("Version")] == ["3", "4"]
    wait(nfs.sr.detach())


def test_smb_password_is_in_a_file_only(smb: FileHost, network: Network) -> None:
    smb.start(SMB)
    assert network.credentials == "username=alice\npassword=secret,1\ndomain=DOM\n"
    assert not any("secret" in word for c in network.commands for word in c)
    wait(smb.sr.detach())


def test_smb_failures(smb: FileHost, network: Network, tmp_path: Path) -> None:
    assert refusal(smb, {}) == "102"
    assert refusal(smb, {"server": "//server"}) == "111"
    assert refusal(smb, {**SMB, "server": "//nowhere/x"}) == "140"
    network.answers["mount"] = Outcome(32, "", "mount error(13): Permission denied")
    problem = create(smb, SMB)
    assert "Permission denied. Please check user privileges." in str(problem.params[2])
    network.answers["mount"] = Outcome(32, "", "mount error(2)")
    assert "[opterr=mount failed with return code 32]" in str(create(smb, SMB).params[2])
    other = FileHost(tmp_path, "smb", system=network, smb_licensed=False)
    assert refusal(other, SMB) == "454"


def test_ext_devices(tmp_path: Path) -> None:
    host = FileHost(tmp_path, "ext")
    assert refusal(host, {}) == "90"
    assert refusal(host, {"device": "/dev/nothing"}) == "91"
    assert refusal(host, {"device": "/dev/null"}) == "91"


def test_file_location(tmp_path: Path) -> None:
    host = FileHost(tmp_path)
    assert refusal(host, {}) == "94"
    assert refusal(host, {"location": "/nowhere"}) == "61"


def test_iso_locations(iso: FileHost, network: Network, tmp_path: Path) -> None:
    assert refusal(iso, {}) == "94"
    assert refusal(iso, {"location": "nonsense"}) == "225"
    assert refusal(iso, {"location": str(tmp_path)}) == "225"
    assert refusal(iso, {"location": "//server"}) == "225"
    assert refusal(iso, {"location": "nowhere:/iso"}) == "140"
    assert refusal(iso, {"location": "//server/iso", "vers": "2.0"}) == "227"
    assert refusal(iso, {"location": "server:/iso", "iso_path": "/none"}) == "224"
    assert refusal(iso, {"location": "server:/iso", "iso_path": "/../.."}) == "224"
    network.answers["mount"] = Outcome(32, "", "no such file")
    assert refusal(iso, {"location": "server:/iso"}) == "222"
    assert refusal(iso, {"location": "//server/iso"}) == "222"


def test_iso_library_lists_images(iso: FileHost, tmp_path: Path) -> None:
    for name in ("b.ISO", "a.img", "notes.txt", "ä.iso"):
        (tmp_path / "disks" / name).write_bytes(bytes(2048))
    (tmp_path / "disks" / "folder.iso").mkdir()
    (tmp_path / "disks").joinpath(os.fsdecode(b"bad\xff.iso")).write_bytes(b"")
    config = {"location": str(tmp_path / "disks"), "legacy_mode": "true"}
    iso.start(config)
    found = iso.vdis()
    assert {v.location for v in found.values()} == {"a.img", "b.ISO", "ä.iso"}
    assert all(v.read_only and v.virtual_size == 2048 for v in found.values())
    (vdi,) = (v.uuid for v in found.values() if v.location == "b.ISO")
    assert wait(iso.sr.vdi_attach(vdi, False)).path == str(tmp_path / "disks" / "b.ISO")
    assert code(iso.sr.vdi_attach(vdi, True)) == "SR_BACKEND_FAILURE_46"
    made = wait(iso.sr.vdi_create(VdiSpec(name_label="new.iso", virtual_size=MIB)))
    assert (tmp_path / "disks" / "new.iso").stat().st_size == MIB
    assert code(iso.sr.vdi_create(VdiSpec(name_label="new.iso"))) == "SR_BACKEND_FAILURE_43"
    assert code(iso.sr.vdi_create(VdiSpec(name_label="../x.iso"))) == "SR_BACKEND_FAILURE_221"
    assert code(iso.sr.vdi_create(VdiSpec(name_label="new"))) == "SR_BACKEND_FAILURE_221"
    wait(iso.sr.vdi_destroy(made.uuid))
    wait(iso.sr.detach())
    iso.attach(config)
    assert iso.vdis() == found
    wait(iso.sr.detach())


def test_udev_offers_devices_only(tmp_path: Path) -> None:
    host = FileHost(tmp_path, "udev")
    folder = tmp_path / "xapi" / "block"
    folder.mkdir(parents=True)
    (folder / "not").symlink_to("/dev/null")
    (folder / "gone").symlink_to("/dev/nothing")
    host.start({"location": str(folder)})
    assert host.vdis() == {}
    wait(host.sr.detach())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_qemu
def test_full_file_system_is_error_44_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    host = FileHost(tmp_path)
    config = {"location": str(small_disk)}
    host.start(config)
    vdi = host.make(64 * MIB)
    target = host.make(64 * MIB)
    source = tmp_path / "source.raw"
    source.write_bytes(os.urandom(30 * MIB))
    content = type("C", (), {"path": str(source), "format": "raw"})
    assert code(host.sr.vdi_fill(target.uuid, content)) == "SR_BACKEND_FAILURE_44"  # type: ignore[arg-type]
    (small_disk / "filler").write_bytes(bytes(small_disk_free(small_disk)))
    assert code(host.sr.vdi_create(VdiSpec(virtual_size=MIB))) == "SR_BACKEND_FAILURE_44"
    assert code(host.sr.vdi_snapshot(vdi.uuid, VdiSpec())) == "SR_BACKEND_FAILURE_44"
    assert code(host.sr.vdi_clone(vdi.uuid, VdiSpec())) == "SR_BACKEND_FAILURE_44"
    (small_disk / "filler").unlink()
    wait(host.sr.vdi_snapshot(vdi.uuid, VdiSpec()))
    assert set(host.vdis()) >= {vdi.uuid, target.uuid}
    wait(host.sr.detach())


def small_disk_free(folder: Path) -> int:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize
