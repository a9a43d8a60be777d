"""VMs and disks as files over HTTP, against the processes of a real pool."""

import contextlib
import hashlib
import http.client
import io
import os
import socket
import tarfile
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
import XenAPI

from ocaml_compat import tar_stream
from tests.integration.running_pool import Endpoint, RunningPool, eventually, running
from tests.unit.api.vm.pool import vm_record

pytestmark = pytest.mark.integration

MIB = 1 << 20
DISK_BYTES = 8 * MIB
UNKNOWN = str(1 << 50)


class Client:
    """A session and the raw HTTP of one pool."""

    def __init__(self, endpoint: Endpoint, session: XenAPI.Session) -> None:
        self.endpoint, self.session, self.api = endpoint, session, session.xenapi

    def path(self, path: str, **query: str) -> str:
        """A path with the session and the query."""
        whole = {"session_id": self.session.handle, **query}
        return f"{path}?{urllib.parse.urlencode(whole)}"

    def get(self, path: str, **query: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.endpoint.address, self.endpoint.http)
        connection.request("GET", self.path(path, **query))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def connect(self) -> socket.socket:
        return socket.create_connection((self.endpoint.address, self.endpoint.http), timeout=60)

    def begin_put(self, path: str, length: str | None, **query: str) -> tuple[socket.socket, bytes]:
        """Send the head of an upload and give the answer's head."""
        connection = self.connect()
        head = f"PUT {self.path(path, **query)} HTTP/1.0\r\nHost: x\r\n"
        if length is not None:
            head += f"Content-Length: {length}\r\n"
        connection.sendall(head.encode() + b"\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = connection.recv(4096)
            if not more:
                break
            answer += more
        return connection, answer

    def put(self, path: str, content: bytes, length: str | None = "", **query: str) -> str:
        """Upload under a task of our own and give the task when it has ended."""
        task = self.api.task.create("upload", "")
        if length == "":
            length = str(len(content))
        connection, answer = self.begin_put(path, length, task_id=task, **query)
        if b" 200 " in answer.partition(b"\r\n")[0]:
            with contextlib.suppress(OSError):
                connection.sendall(content)
        connection.close()
        self.wait(task)
        return task

    def wait(self, task: str) -> None:
        running = ("pending", "cancelling")
        eventually(lambda: self.api.task.get_status(task) not in running, "the task ends")

    def result(self, task: str) -> str:
        assert self.api.task.get_status(task) == "success", self.api.task.get_error_info(task)
        return self.api.task.get_result(task)

    def error(self, task: str) -> list[str]:
        assert self.api.task.get_status(task) in ("failure", "cancelled")
        return self.api.task.get_error_info(task)

    def disk(self, content: dict[int, bytes], size: int = DISK_BYTES) -> str:
        """Make a disk that holds pieces of data at offsets."""
        vdi = self.api.VDI.create(
            {
                **{"name_label": "data", "name_description": "of a test", "SR": self.sr()},
                **{"virtual_size": str(size), "type": "user", "sharable": False},
                **{"read_only": False, "other_config": {"key": "kept"}, "sm_config": {}},
            }
        )
        if content:
            image = bytearray(size)
            for offset, data in content.items():
                image[offset : offset + len(data)] = data
            task = self.put("/import_raw_vdi", bytes(image), vdi=vdi)
            assert self.result(task) == f"<value>{vdi}</value>"
        return vdi

    def sr(self) -> str:
        (pool,) = self.api.pool.get_all()
        return self.api.pool.get_default_SR(pool)

    def vm(self, *vdis: str, **fields: Any) -> str:
        vm = self.api.VM.create(vm_record(name_label="exported", **fields))
        for number, vdi in enumerate(vdis):
            self.api.VBD.create(
                {
                    **{"VM": vm, "VDI": vdi, "userdevice": str(number), "bootable": number == 0},
                    **{"mode": "RW", "type": "Disk", "unpluggable": True, "empty": False},
                    **{"other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}},
                }
            )
        (network, *_) = self.api.network.get_all()
        self.api.VIF.create(
            {
                **{"VM": vm, "network": network, "device": "0", "MAC": "", "MTU": "1500"},
                **{"other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}},
            }
        )
        return vm

    def counts(self) -> dict[str, int]:
        classes = ("VM", "VDI", "VBD", "VIF", "network", "VM_metrics")
        return {cls: len(getattr(self.api, cls).get_all()) for cls in classes}

    def content(self, vdi: str) -> bytes:
        status, content = self.get("/export_raw_vdi", vdi=vdi)
        assert status == 200
        return content


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with running("--profile", "newest") as pool:
        yield pool.start()


@pytest.fixture
def client(pool: RunningPool) -> Iterator[Client]:
    endpoint = pool.host()
    with endpoint.session() as session:
        yield Client(endpoint, session)


def refs_of(result: str) -> list[str]:
    assert result.startswith("<value><array><data><value>"), result
    inner = result[len("<value><array><data>") : -len("</data></array></value>")]
    return [part for part in inner.replace("</value>", "").split("<value>") if part]


def imported(client: Client, task: str) -> str:
    (vm,) = refs_of(client.result(task))
    return vm


def disks_of(client: Client, vm: str) -> list[str]:
    vbds = sorted(client.api.VM.get_VBDs(vm), key=client.api.VBD.get_userdevice)
    return [client.api.VBD.get_VDI(vbd) for vbd in vbds]


DATA = os.urandom(3 * MIB // 2)


def exported(client: Client, **query: str) -> tuple[str, bytes]:
    vdi = client.disk({MIB // 2: DATA, DISK_BYTES - 9: b"the end.."})
    vm = client.vm(vdi)
    status, content = client.get("/export", uuid=client.api.VM.get_uuid(vm), **query)
    assert status == 200
    return vm, content


@pytest.mark.parametrize("packing", ["", "true", "zstd"])
def test_a_vm_comes_back_as_it_was_exported(client: Client, packing: str) -> None:
    vm, content = exported(client, use_compression=packing)
    task = client.put("/import/", content, sr_id=client.sr())
    copy = imported(client, task)
    api = client.api
    assert api.VM.get_uuid(copy) != api.VM.get_uuid(vm)
    assert api.VM.get_name_label(copy) == "exported"
    assert api.VM.get_other_config(copy)["import_task"] == task
    seeds = [api.VM.get_other_config(v)["mac_seed"] for v in (vm, copy)]
    assert seeds[0] != seeds[1]
    (before,), (after,) = disks_of(client, vm), disks_of(client, copy)
    assert client.content(before) == client.content(after)
    assert api.VDI.get_other_config(after) == {"key": "kept"}
    assert api.VDI.get_name_label(after) == "data"
    (old_vif,), (new_vif,) = api.VM.get_VIFs(vm), api.VM.get_VIFs(copy)
    assert api.VIF.get_network(old_vif) == api.VIF.get_network(new_vif)
    assert api.VIF.get_MAC(old_vif) != api.VIF.get_MAC(new_vif)
    api.VM.start(copy, False, False)
    assert api.VM.get_power_state(copy) == "Running"
    api.VM.hard_shutdown(copy)


def test_an_export_is_a_tar_that_other_programs_read(client: Client) -> None:
    _, content = exported(client)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()
        assert names[0] == "ova.xml" and len(set(names)) == len(names)
        blocks = [name for name in names[1:] if not name.endswith(".xxhash")]
        numbers = [int(name.rpartition("/")[2]) for name in blocks]
        assert numbers == [0, 1, 7]  # blocks of zeros are left out
        last = tar.extractfile(blocks[-1])
        assert last is not None and last.read().endswith(b"the end..")
    assert content.endswith(bytes(1024))


def test_the_task_of_an_export_is_completed(client: Client) -> None:
    vm = client.vm()
    task = client.api.task.create("download", "")
    status, _ = client.get("/export", ref=vm, task_id=task)
    assert status == 200
    client.wait(task)
    assert client.result(task) == ""
    assert client.api.VM.get_current_operations(vm) == {}


def test_an_export_without_a_task_makes_one(client: Client) -> None:
    vm = client.vm()
    before = set(client.api.task.get_all())
    assert client.get("/export", ref=vm)[0] == 200
    (task,) = set(client.api.task.get_all()) - before
    uuid = client.api.VM.get_uuid(vm)
    assert client.api.task.get_name_label(task) == f"Export of VM: {uuid}"
    client.wait(task)
    assert client.result(task) == ""
    assert client.api.VM.get_current_operations(vm) == {}


def test_an_export_that_is_cut_fails_its_task_and_lets_go_of_the_vm(client: Client) -> None:
    vdi = client.disk({0: os.urandom(40 * MIB)}, 40 * MIB)
    vm = client.vm(vdi)
    task = client.api.task.create("download", "")
    connection = client.connect()
    head = f"GET {client.path('/export', ref=vm, task_id=task)} HTTP/1.0\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(10)
    assert client.api.VM.get_current_operations(vm) != {}
    connection.close()
    client.wait(task)
    assert client.error(task)[0] == "INTERNAL_ERROR"
    assert client.api.VM.get_current_operations(vm) == {}


def test_an_export_can_be_cancelled(client: Client) -> None:
    vdi = client.disk({0: os.urandom(40 * MIB)}, 40 * MIB)
    vm = client.vm(vdi)
    task = client.api.task.create("download", "")
    connection = client.connect()
    head = f"GET {client.path('/export', ref=vm, task_id=task)} HTTP/1.0\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(10)
    client.api.task.cancel(task)
    client.wait(task)
    assert client.error(task)[0] == "TASK_CANCELLED"
    connection.close()


def test_a_running_vm_is_not_exported(client: Client) -> None:
    vm = client.vm()
    client.api.VM.start(vm, False, False)
    status, page = client.get("/export", ref=vm)
    assert status == 500 and b"VM_BAD_POWER_STATE" in page
    client.api.VM.hard_shutdown(vm)


@pytest.mark.parametrize("length", [UNKNOWN, None])
def test_uploads_of_unknown_length_end_with_their_data(client: Client, length: str | None) -> None:
    _, content = exported(client)
    vm = imported(client, client.put("/import", content, length, sr_id=client.sr()))
    assert DATA in client.content(disks_of(client, vm)[0])


@pytest.mark.parametrize("length", ["0", UNKNOWN])
@pytest.mark.parametrize("path", ["/import/", "/import_raw_vdi/"])
def test_the_probe_of_clients_is_answered_and_changes_nothing(
    client: Client, length: str, path: str
) -> None:
    vdi = client.disk({})
    before, tasks = client.counts(), len(client.api.task.get_all())
    connection, answer = client.begin_put(path, length, sr_id=client.sr(), vdi=vdi)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    connection.close()
    assert client.counts() == before
    assert len(client.api.task.get_all()) == tasks


def test_suspended_vms_keep_their_memory_when_asked_to(client: Client) -> None:
    vm = client.vm(client.disk({}))
    client.api.VM.start(vm, False, False)
    offered = client.api.VM.get_allowed_operations
    eventually(lambda: "suspend" in offered(vm), "the guest can be suspended")
    client.api.VM.suspend(vm)
    _, plain = client.get("/export", ref=vm)
    _, whole = client.get("/export", ref=vm, preserve_power_state="true")
    halted = imported(client, client.put("/import", plain))
    suspended = imported(client, client.put("/import", whole))
    assert client.api.VM.get_power_state(halted) == "Halted"
    assert client.api.VM.get_power_state(suspended) == "Suspended"
    client.api.VM.resume(suspended, False, False)
    assert client.api.VM.get_power_state(suspended) == "Running"
    client.api.VM.hard_shutdown(suspended)


def test_a_restore_keeps_identity_and_takes_the_place_of_an_older_vm(client: Client) -> None:
    vm, content = exported(client)
    api = client.api
    uuid, macs = api.VM.get_uuid(vm), [api.VIF.get_MAC(v) for v in api.VM.get_VIFs(vm)]
    refused = client.put("/import", content, restore="true")
    assert client.error(refused)[0] == "VM_TO_IMPORT_IS_NOT_NEWER_VERSION"
    restored = imported(client, client.put("/import", content, restore="true", force="true"))
    assert restored != vm and vm not in api.VM.get_all()
    assert api.VM.get_uuid(restored) == uuid and api.VM.get_version(restored) == "1"
    assert [api.VIF.get_MAC(v) for v in api.VM.get_VIFs(restored)] == macs


def corrupted(content: bytes) -> bytes:
    at = content.index(DATA[:64])
    return content[:at] + b"\0\1\2\3" + content[at + 4 :]


def renamed(content: bytes) -> bytes:
    reader = tar_stream.TarReader(64 * MIB)
    parts = []
    for item in reader.feed(content):
        name = "rubbish" if item.name == "ova.xml" else item.name
        parts.append(tar_stream.member(name, item.data))
    return b"".join(parts) + tar_stream.END


def broken_xml(content: bytes) -> bytes:
    whole = tar_stream.TarReader(64 * MIB).feed(content)[0].data
    return tar_stream.member("ova.xml", whole[: len(whole) // 2]) + tar_stream.END


def newer(content: bytes) -> bytes:
    whole = tar_stream.TarReader(64 * MIB).feed(content)[0].data
    changed = whole.replace(b"<name>xapi_major</name><value>", b"<name>xapi_major</name><value>9")
    assert changed != whole
    return tar_stream.member("ova.xml", changed) + tar_stream.END


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (corrupted, "IMPORT_ERROR_SOME_CHECKSUMS_FAILED"),
        (lambda content: content[: len(content) * 2 // 3], "IMPORT_ERROR_PREMATURE_EOF"),
        (lambda content: content[:100], "IMPORT_ERROR_PREMATURE_EOF"),
        (lambda content: b"", "IMPORT_ERROR_PREMATURE_EOF"),
        (lambda content: b"not a tar archive " * 1000, "IMPORT_ERROR"),
        (lambda content: b"\x1f\x8b" + content, "IMPORT_ERROR"),
        (renamed, "IMPORT_ERROR_UNEXPECTED_FILE"),
        (broken_xml, "IMPORT_ERROR"),
        (newer, "IMPORT_INCOMPATIBLE_VERSION"),
    ],
)
def test_bad_files_fail_the_task_and_leave_nothing(client: Client, spoil: Any, error: str) -> None:
    _, content = exported(client)
    before = client.counts()
    task = client.put("/import", spoil(content), str(len(content)))
    assert client.error(task)[0] == error
    eventually(lambda: client.counts() == before, "nothing is left")


def test_an_unknown_sr_is_refused_before_anything_is_sent(client: Client) -> None:
    connection, answer = client.begin_put("/import", "10", sr_id="nowhere")
    assert answer.startswith(b"HTTP/1.1 500")
    connection.close()
    task = client.put("/import", b"x", sr_uuid="nowhere")
    assert client.error(task)[0] == "UUID_INVALID"


def test_an_import_can_be_cancelled(client: Client) -> None:
    _, content = exported(client)
    before = client.counts()
    task = client.api.task.create("upload", "")
    connection, _ = client.begin_put("/import", str(len(content)), task_id=task)
    connection.sendall(content[: len(content) * 2 // 3])
    eventually(lambda: client.api.task.get_progress(task) > 0, "the import makes progress")
    client.api.task.cancel(task)
    client.wait(task)
    assert client.error(task) == ["TASK_CANCELLED", task]
    connection.close()
    assert client.counts() == before


def test_metadata_alone_finds_the_disks_that_are_here(client: Client) -> None:
    vdi = client.disk({})
    vm = client.vm(vdi)
    status, content = client.get("/export_metadata", ref=vm)
    assert status == 200
    before = client.counts()
    task = client.put("/import_metadata", content, dry_run="true")
    assert client.api.task.get_status(task) == "success" and client.counts() == before
    copy = imported(client, client.put("/import_metadata", content))
    assert disks_of(client, copy) == [vdi]
    client.api.VM.destroy(copy)
    client.api.VM.destroy(vm)
    client.api.VDI.destroy(vdi)
    task = client.put("/import_metadata", content)
    assert client.error(task)[0] == "VDI_LOCATION_MISSING"
    forced = imported(client, client.put("/import_metadata", content, force="true"))
    assert disks_of(client, forced) == []


def test_a_vm_is_recovered_from_its_own_record(client: Client) -> None:
    api = client.api
    vdi = client.disk({})
    vm = client.vm(vdi)
    uuid = api.VM.get_uuid(vm)
    assert api.VM.get_SRs_required_for_recovery(vm, client.session.handle) == [client.sr()]
    with pytest.raises(XenAPI.Failure, match="VM_TO_IMPORT_IS_NOT_NEWER_VERSION"):
        api.VM.recover(vm, client.session.handle, False)
    api.VM.recover(vm, client.session.handle, True)
    again = api.VM.get_by_uuid(uuid)
    assert again != vm and disks_of(client, again) == [vdi]


def test_a_raw_image_is_what_was_written(client: Client) -> None:
    vdi = client.disk({0: b"start", 5 * MIB: DATA})
    content = client.content(vdi)
    assert len(content) == DISK_BYTES
    assert content.startswith(b"start") and content[5 * MIB :].startswith(DATA)
    assert client.api.VDI.checksum(vdi) == hashlib.md5(content).hexdigest()
    assert int(client.api.VDI.get_physical_utilisation(vdi)) < DISK_BYTES


def test_zeros_overwrite_what_was_there(client: Client) -> None:
    vdi = client.disk({0: os.urandom(DISK_BYTES)})
    client.result(client.put("/import_raw_vdi", bytes(DISK_BYTES), vdi=vdi))
    assert client.content(vdi) == bytes(DISK_BYTES)


def test_a_raw_image_makes_a_disk_of_its_size(client: Client) -> None:
    task = client.put("/import_raw_vdi", DATA, sr_id=client.sr())
    vdi = client.result(task)[len("<value>") : -len("</value>")]
    assert client.content(vdi).startswith(DATA)
    assert "xapi-py-pending" not in client.api.VDI.get_other_config(vdi)


def test_raw_images_that_do_not_fit_or_break_off_fail(client: Client) -> None:
    vdi = client.disk({})
    task = client.put("/import_raw_vdi", b"", str(DISK_BYTES + 1), vdi=vdi)
    assert client.error(task)[0] == "VDI_IO_ERROR"
    task = client.put("/import_raw_vdi", b"too short", str(DISK_BYTES), vdi=vdi)
    assert client.error(task)[0] == "VDI_IO_ERROR"
    task = client.put("/import_raw_vdi", b"x", vdi=vdi, format="vhd")
    assert client.error(task)[0] == "VDI_IO_ERROR"
    assert client.api.VDI.get_current_operations(vdi) == {}


def test_a_server_killed_in_an_import_leaves_nothing(pool: RunningPool) -> None:
    endpoint = pool.host()
    with endpoint.session() as session:
        client = Client(endpoint, session)
        _, content = exported(client)
        before = client.counts()
        task = client.api.task.create("upload", "")
        connection, _ = client.begin_put("/import", str(len(content)), task_id=task)
        connection.sendall(content[: len(content) * 2 // 3])
        eventually(lambda: client.api.task.get_progress(task) > 0, "the import makes progress")
        assert client.counts()["VDI"] == before["VDI"] + 1
        pool.kill("xapi")
        connection.close()

    def clean() -> bool:
        try:
            with pool.host().session() as again:
                return Client(pool.host(), again).counts() == before
        except (OSError, http.client.HTTPException, XenAPI.Failure):
            return False

    eventually(clean, "the half-made disk is gone", 60)
