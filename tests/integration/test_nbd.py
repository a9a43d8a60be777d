"""Reading disks over NBD with TLS, and incremental backups, by clients of others."""

import base64
import datetime
import json
import shutil
import socket
import ssl
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import XenAPI
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.integration.disk_client import (
    MIB,
    DiskClient,
    clients,
    make_image,
    needs_qemu,
    pool_with_files,
    same_content,
)
from tests.integration.running_pool import RunningPool, eventually

pytestmark = [pytest.mark.integration, needs_qemu]
needs_nbdinfo = pytest.mark.skipif(
    shutil.which("nbdinfo") is None, reason="nbdinfo is missing (Debian: libnbd-bin)"
)
SIZE = 24 * MIB
PIECES = {0: b"boot" * 1024, 7 * MIB: b"\x5a" * MIB, SIZE - 512: b"x" * 512}


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with pool_with_files() as found:
        yield found


@pytest.fixture
def client(pool: RunningPool, tmp_path: Path) -> Iterator[DiskClient]:
    for found in clients(pool, pool.host(), tmp_path):
        set_purpose(found, "nbd")
        yield found


@pytest.fixture(params=["real", "simulated"])
def sr(request: pytest.FixtureRequest, client: DiskClient) -> str:
    if request.param == "simulated":
        return client.simulated_sr()
    return client.file_sr(f"disks {client.folder.name}")


def set_purpose(client: DiskClient, purpose: str) -> None:
    """Give the management network this purpose, or none."""
    (pif, *_) = [ref for ref, p in client.api.PIF.get_all_records().items() if p["management"]]
    network = client.api.PIF.get_network(pif)
    for old in client.api.network.get_purpose(network):
        client.api.network.remove_purpose(network, old)
    if purpose:
        client.api.network.add_purpose(network, purpose)


def export_of(client: DiskClient, vdi: str) -> dict[str, Any]:
    (info,) = client.api.VDI.get_nbd_info(vdi)
    return dict(info)


def tls_options(folder: Path) -> list[str]:
    """What makes QEMU use TLS; it takes certificate authorities only, so it checks nobody here."""
    folder = folder / "tls"
    if not folder.exists():
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(key.public_key()).serial_number(1)
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        (folder / "ca-cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    return ["--object", f"tls-creds-x509,id=t,endpoint=client,dir={folder},verify-peer=no"]


def qemu_options(info: dict[str, Any], *, tls: bool = True) -> str:
    options = {
        **{"driver": "nbd", "export": info["exportname"]},
        **{"server": {"type": "inet", "host": info["address"], "port": str(info["port"])}},
    }
    return "json:" + json.dumps(options | ({"tls-creds": "t"} if tls else {}))


def test_qemu_reads_a_disk_over_tls(client: DiskClient, sr: str, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", SIZE, PIECES)
    vdi = client.new_disk(sr, image)
    info = export_of(client, vdi)
    assert info["cert"].startswith("-----BEGIN CERTIFICATE-----")
    target = tmp_path / "copy.raw"
    command = ["qemu-img", "convert", *tls_options(tmp_path), "--image-opts", "-O", "raw"]
    location = (
        f"driver=nbd,export={info['exportname']},tls-creds=t,server.type=inet,"
        f"server.host={info['address']},server.port={info['port']}"
    )
    subprocess.run([*command, location, str(target)], check=True, timeout=60)
    assert same_content(target, "raw", image)
    assert target.stat().st_blocks * 512 < 3 * MIB


@needs_nbdinfo
def test_nbdinfo_sees_a_read_only_sparse_export(
    client: DiskClient, sr: str, tmp_path: Path
) -> None:
    vdi = client.new_disk(sr, make_image(tmp_path / "image", SIZE, PIECES))
    set_purpose(client, "insecure_nbd")
    info = export_of(client, vdi)
    eventually(lambda: connected(info), "the listener is there")
    export = urllib.parse.quote(info["exportname"], safe="")
    where = f"nbd://{info['address']}:{info['port']}/{export}"
    found = subprocess.run(
        ["nbdinfo", "--json", where], check=True, capture_output=True, timeout=60
    )
    (shown,) = json.loads(found.stdout)["exports"]
    assert shown["export-size"] == SIZE and shown["is_read_only"] is True
    found = subprocess.run(
        ["nbdinfo", "--json", "--map", where], check=True, capture_output=True, timeout=60
    )
    data = [(e["offset"], e["length"]) for e in json.loads(found.stdout) if e["type"] == 0]
    assert any(o <= 7 * MIB and o + n >= 8 * MIB for o, n in data)
    assert sum(n for _, n in data) < 3 * MIB


def connected(info: dict[str, Any]) -> bool:
    try:
        socket.create_connection((info["address"], int(info["port"])), timeout=5).close()
    except OSError:
        return False
    return True


def test_only_good_sessions_with_tls_are_served(client: DiskClient, tmp_path: Path) -> None:
    sr = client.file_sr("closed")
    vdi = client.new_disk(sr, make_image(tmp_path / "image", SIZE, PIECES))
    info = export_of(client, vdi)
    plain = ["qemu-img", "info", qemu_options(info, tls=False)]
    refused = subprocess.run(plain, capture_output=True, text=True, timeout=60)
    assert refused.returncode and "TLS" in refused.stderr
    foreign = {
        **info,
        "exportname": info["exportname"].partition("?")[0] + "?session_id=OpaqueRef:x",
    }
    command = ["qemu-img", "info", *tls_options(tmp_path), "--image-opts"]
    for bad in (foreign, {**info, "exportname": "/nothing"}):
        location = (
            f"driver=nbd,export={bad['exportname']},tls-creds=t,server.type=inet,"
            f"server.host={info['address']},server.port={info['port']}"
        )
        refused = subprocess.run([*command, location], capture_output=True, text=True, timeout=60)
        assert refused.returncode and "SESSION_INVALID" in refused.stderr
    set_purpose(client, "")
    assert client.api.VDI.get_nbd_info(vdi) == []
    eventually(lambda: not connected(info), "nobody listens any more")


class PythonBackup:
    """A backup client as vendors write them: newstyle, STARTTLS, EXPORT_NAME, plain reads."""

    def __init__(self, info: dict[str, Any]) -> None:
        raw = socket.create_connection((info["address"], int(info["port"])), timeout=30)
        assert self._exact(raw, 18)[:16] == b"NBDMAGICIHAVEOPT"
        raw.sendall((1).to_bytes(4, "big"))
        raw.sendall(b"IHAVEOPT" + (5).to_bytes(4, "big") + bytes(4))
        assert self._exact(raw, 20)[12:16] == (1).to_bytes(4, "big")
        context = ssl.create_default_context(cadata=info["cert"])
        self._socket = context.wrap_socket(raw, server_hostname=info["subject"])
        name = info["exportname"].encode()
        self._socket.sendall(
            b"IHAVEOPT" + (1).to_bytes(4, "big") + len(name).to_bytes(4, "big") + name
        )
        self.size = int.from_bytes(self._exact(self._socket, 134)[:8], "big")

    def _exact(self, connection: socket.socket, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = connection.recv(length - len(data))
            assert more, "the server closed the connection"
            data += more
        return data

    def read(self, offset: int, length: int) -> bytes:
        head = (0x25609513).to_bytes(4, "big") + bytes(4) + b"cookie.."
        self._socket.sendall(head + offset.to_bytes(8, "big") + length.to_bytes(4, "big"))
        assert (
            self._exact(self._socket, 16)
            == (0x67446698).to_bytes(4, "big") + bytes(4) + b"cookie.."
        )
        return self._exact(self._socket, length)

    def close(self) -> None:
        head = (0x25609513).to_bytes(4, "big") + b"\0\0\0\2" + bytes(20)
        self._socket.sendall(head)
        self._socket.close()


def changed(client: DiskClient, first: str, second: str) -> list[int]:
    bits = base64.b64decode(client.api.VDI.list_changed_blocks(first, second))
    return [n for n in range(len(bits) * 8) if bits[n // 8] & 128 >> n % 8]


def test_incremental_backup_journey(client: DiskClient, sr: str, tmp_path: Path) -> None:
    """Full backup, then only changed blocks, with snapshots reduced to their change record."""
    image = make_image(tmp_path / "image", SIZE, PIECES)
    vdi = client.new_disk(sr, image)
    client.api.VDI.enable_cbt(vdi)
    snapshot = client.api.VDI.snapshot(vdi, {})
    reader = PythonBackup(export_of(client, snapshot))
    backup = bytearray().join(reader.read(at, 65536) for at in range(0, reader.size, 65536))
    reader.close()
    assert bytes(backup) == image.read_bytes()
    eventually(lambda: data_destroyed(client, snapshot), "the data can go")
    assert client.api.VDI.get_type(snapshot) == "cbt_metadata"
    with pytest.raises(XenAPI.Failure, match="VDI_INCOMPATIBLE_TYPE"):
        client.api.VDI.get_nbd_info(snapshot)
    for step, at in enumerate((3 * MIB, 7 * MIB + 65536, SIZE - MIB)):
        frame = at.to_bytes(8, "little") + (1000).to_bytes(4, "little") + bytes([65 + step]) * 1000
        client.ok(client.put("/import_raw_vdi", frame + bytes(12), vdi=vdi, chunked="true"))
        newer = client.api.VDI.snapshot(vdi, {})
        blocks = changed(client, snapshot, newer)
        assert blocks == [at // 65536]
        reader = PythonBackup(export_of(client, newer))
        for block in blocks:
            backup[block * 65536 : (block + 1) * 65536] = reader.read(block * 65536, 65536)
        reader.close()
        (tmp_path / "backup").write_bytes(backup)
        assert client.holds(newer, tmp_path / "backup")
        client.api.VDI.destroy(snapshot)
        snapshot = newer


def data_destroyed(client: DiskClient, snapshot: str) -> bool:
    try:
        client.api.VDI.data_destroy(snapshot)
    except XenAPI.Failure as problem:
        if problem.details[0] == "VDI_IN_USE":
            return False
        raise
    return True
