"""Running VMs and their disks moved within one host, against real processes."""

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import XenAPI

from tests.integration.running_pool import RunningPool, eventually, running
from tests.integration.test_vm_files import MIB, Client

pytestmark = pytest.mark.integration

DATA = os.urandom(MIB)


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with running("--profile", "newest") as pool:
        yield pool.start()


@pytest.fixture
def client(pool: RunningPool) -> Iterator[Client]:
    endpoint = pool.host()
    with endpoint.session() as session:
        yield Client(endpoint, session)


def running_vm(client: Client, *vdis: str) -> str:
    vm = client.vm(*vdis)
    client.api.VM.start(vm, False, False)
    offered = client.api.VM.get_allowed_operations
    eventually(lambda: "pool_migrate" in offered(vm), "the guest can be moved")
    return vm


def other_sr(client: Client) -> str:
    """Give an SR with disks that is not the default one."""
    default = client.sr()
    return next(
        ref
        for ref, record in client.api.SR.get_all_records().items()
        if ref != default and record["content_type"] == "user" and record["type"] != "iso"
    )


def test_a_vm_moves_to_its_own_host(client: Client) -> None:
    api = client.api
    vm = running_vm(client, client.disk({}))
    host, domid = api.VM.get_resident_on(vm), int(api.VM.get_domid(vm))
    api.VM.pool_migrate(vm, host, {"live": "true"})
    assert api.VM.get_power_state(vm) == "Running" and api.VM.get_resident_on(vm) == host
    assert int(api.VM.get_domid(vm)) > domid
    (vbd,) = api.VM.get_VBDs(vm)
    assert api.VBD.get_currently_attached(vbd) and api.VM.get_current_operations(vm) == {}
    api.VM.clean_shutdown(vm)


@pytest.mark.parametrize("paused", [False, True])
def test_a_simulated_disk_moves_with_its_vm_paused(client: Client, paused: bool) -> None:
    api = client.api
    vdi = client.disk({MIB: DATA})
    content = client.content(vdi)
    vm, sr = running_vm(client, vdi), other_sr(client)
    if paused:
        api.VM.pause(vm)
    moved = api.VDI.pool_migrate(vdi, sr, {})
    (vbd,) = api.VM.get_VBDs(vm)
    assert api.VBD.get_VDI(vbd) == moved and api.VBD.get_currently_attached(vbd)
    assert api.VDI.get_SR(moved) == sr and vdi not in api.VDI.get_all()
    assert api.VM.get_power_state(vm) == ("Paused" if paused else "Running")
    api.VM.hard_shutdown(vm)
    assert client.content(moved) == content
    assert api.VBD.get_VDI(vbd) == moved


def test_a_disk_moves_under_a_running_vm(client: Client) -> None:
    api = client.api
    vdi = client.disk({MIB: DATA})
    content = client.content(vdi)
    vm = running_vm(client, vdi)
    sr = other_sr(client)
    domid = int(api.VM.get_domid(vm))
    task = api.Async.VM.migrate_send(
        vm, {"host": api.VM.get_resident_on(vm)}, True, {vdi: sr}, {}, {}
    )
    client.wait(task)
    assert client.result(task) == f"<value>{vm}</value>"
    (vbd,) = api.VM.get_VBDs(vm)
    moved = api.VBD.get_VDI(vbd)
    assert int(api.VM.get_domid(vm)) > domid
    assert moved != vdi and api.VDI.get_SR(moved) == sr and vdi not in api.VDI.get_all()
    assert api.VBD.get_currently_attached(vbd)
    assert "xapi-py-pending" not in api.VDI.get_other_config(moved)
    assert api.VM.get_power_state(vm) == "Running"
    assert api.VDI.get_other_config(moved) == {"key": "kept"}
    api.VM.hard_shutdown(vm)
    assert client.content(moved) == content
    api.VM.start(vm, False, False)
    api.VM.hard_shutdown(vm)


def test_disks_of_a_halted_vm_move(client: Client) -> None:
    api = client.api
    vdi = client.disk({0: DATA})
    content, vm, sr = client.content(vdi), client.vm(vdi), other_sr(client)
    (host,) = api.host.get_all()
    dest = {"host": host}
    api.VM.assert_can_migrate(vm, dest, True, {vdi: sr}, {}, {})
    assert api.VM.migrate_send(vm, dest, True, {vdi: sr}, {}, {}) == vm
    (vbd,) = api.VM.get_VBDs(vm)
    moved = api.VBD.get_VDI(vbd)
    assert api.VDI.get_SR(moved) == sr and client.content(moved) == content


def test_what_cannot_move_is_refused_and_stays(client: Client) -> None:
    api = client.api
    vdi, other = client.disk({}), client.disk({})
    vm, sr = client.vm(vdi), other_sr(client)
    (host,) = api.host.get_all()
    cases = [
        (({"host": host}, {other: sr}), "VDI_NOT_IN_MAP"),
        (({"host": host}, {vdi: "OpaqueRef:nothing"}), "HANDLE_INVALID"),
        (({"host": "OpaqueRef:elsewhere"}, {vdi: sr}), "NOT_IMPLEMENTED"),
        (({}, {vdi: sr}), "INVALID_VALUE"),
    ]
    for (dest, disks), error in cases:
        for call in (api.VM.assert_can_migrate, api.VM.migrate_send):
            with pytest.raises(XenAPI.Failure, match=error):
                call(vm, dest, True, disks, {}, {})
    (vbd,) = api.VM.get_VBDs(vm)
    assert api.VBD.get_VDI(vbd) == vdi


def test_a_vm_is_imported_from_a_url(client: Client, tmp_path: Path) -> None:
    vdi = client.disk({MIB: DATA})
    vm = client.vm(vdi)
    _, content = client.get("/export", ref=vm)
    (tmp_path / "vm.xva").write_bytes(content)
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        fetch = getattr(client.api.VM, "import")
        (copy,) = fetch(f"{url}/vm.xva", client.sr(), False, False)
        with pytest.raises(XenAPI.Failure, match="IMPORT_ERROR"):
            fetch(f"{url}/nothing", client.sr(), False, False)
        server.shutdown()
    (vbd,) = client.api.VM.get_VBDs(copy)
    assert client.content(client.api.VBD.get_VDI(vbd)) == client.content(vdi)
    for url in ("http://192.0.2.1/vm.xva", "file:///etc/passwd", "rubbish"):
        with pytest.raises(XenAPI.Failure, match="INVALID_VALUE"):
            fetch(url, client.sr(), False, False)
