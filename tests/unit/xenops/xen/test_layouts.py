"""What devices look like in xenstore."""

import stat

import pytest

from xapi_py.base.rpc.errors import RpcError
from xenops.backends.xen.devices import nodes, pci_layout, vbd_layout, vif_layout
from xenops.backends.xen.devices.nodes import Node, Place, State
from xenops.backends.xen.devices.vbd_layout import NbdExport, PluggedDisk, Served
from xenops.metadata import Disk, Vbd, Vif

VM = "6f2a3c52-0000-4000-8000-000000000001"
NBD = "nbd:unix:/run/disk.sock:exportname=v1"
DISK = Disk(sr="s", vdi="v")


def tree(found: list[Node]) -> dict[str, str]:
    return {node.path: node.value for node in found if node.value}


def access(found: list[Node]) -> dict[str, tuple[str, ...]]:
    return {node.path: node.access for node in found if node.access}


def below(base: str, found: list[Node]) -> dict[str, str]:
    start = base + "/"
    return {k.removeprefix(start): v for k, v in tree(found).items() if k.startswith(start)}


def plugged(**members: object) -> PluggedDisk:
    known: dict[str, object] = {
        "device": "xvdb",
        "devid": 51728,
        "ty": "Disk",
        "mode": "RW",
        "served": "vbd",
        "path": "/dev/vg/lv",
        "sr": "s",
        "vdi": "v",
    }
    return PluggedDisk(**(known | members))  # type: ignore[arg-type]


def test_a_disk_of_blkback_has_both_sides_a_mirror_and_private_keys() -> None:
    disk, vbd = plugged(), Vbd("xvdb", backend=DISK)
    where = vbd_layout.place(7, VM, disk)
    found = vbd_layout.kernel_nodes(where, vbd, disk, "fd:3")
    assert below("/local/domain/7/device/vbd/51728", found) == {
        "backend": "/local/domain/0/backend/vbd/7/51728",
        "backend-id": "0",
        "virtual-device": "51728",
        "device-type": "disk",
        "state": "1",
    }
    assert below("/local/domain/0/backend/vbd/7/51728", found) == {
        "frontend": "/local/domain/7/device/vbd/51728",
        "frontend-id": "7",
        "online": "1",
        "removable": "1",
        "bootable": "0",
        "dev": "xvdb",
        "type": "phy",
        "mode": "w",
        "params": "/dev/vg/lv",
        "polling-duration": "8000",
        "polling-idle-threshold": "50",
        "vdi": '{"sr":"s","vdi":"v","path":""}',
        "physical-device": "fd:3",
        "physical-device-path": "/dev/vg/lv",
        "hotplug-status": "connected",
        "state": "1",
    }
    assert below(f"/xapi/{VM}/private/vbd/51728", found) == {
        "backend-kind": "vbd",
        "backend-id": "0",
        "dp-id": "vbd/7/xvdb",
        "vdi-id": "s/v",
        "vbd-id": f"{VM}.xvdb",
    }
    assert below(f"/xapi/{VM}/hotplug/7/vbd/51728", found) == {"hotplug": "online"}
    mirror = below("/xenops/domain/7/device/vbd/51728", found)
    assert mirror["backend"] == "/local/domain/0/backend/vbd/7/51728"
    assert vbd_layout.read_record(mirror["record"]) == disk


def test_each_side_belongs_to_its_domain_and_is_read_by_the_other() -> None:
    disk, vbd = plugged(), Vbd("xvdb", backend=DISK)
    found = vbd_layout.kernel_nodes(vbd_layout.place(7, VM, disk), vbd, disk, "fd:3")
    assert access(found) == {
        "/xenops/domain/7/device/vbd/51728": ("n0",),
        f"/xapi/{VM}/private/vbd/51728": ("n0",),
        "/local/domain/0/backend/vbd/7/51728": ("n0", "r7"),
        "/local/domain/7/device/vbd/51728": ("n7", "r0"),
    }


def test_the_state_of_a_side_is_written_after_all_else_of_it() -> None:
    """A driver looks at everything as soon as there is a state."""
    disk, vbd = plugged(), Vbd("xvdb", backend=DISK)
    found = vbd_layout.kernel_nodes(vbd_layout.place(7, VM, disk), vbd, disk, "fd:3")
    written = [node.path for node in found]
    for side in ("/local/domain/0/backend/vbd/7/51728", "/local/domain/7/device/vbd/51728"):
        assert [path for path in written if path.startswith(side)][-1] == f"{side}/state"


def test_a_disk_of_qemu_has_only_our_own_nodes() -> None:
    disk = plugged(served="qdisk", path=NBD)
    where = vbd_layout.place(7, VM, disk)
    found = vbd_layout.qemu_nodes(where, Vbd("xvdb", backend=DISK), disk)
    assert not below("/local/domain", found)
    assert tree(found)[f"{where.mirror}/backend"] == "/local/domain/0/backend/qdisk/7/51728"


@pytest.mark.parametrize(
    ("vbd", "path", "hvm", "served"),
    [
        (Vbd("xvda"), "/dev/sda", False, Served.KERNEL),
        (Vbd("xvda"), "/sr/disk.img", True, Served.KERNEL),
        (Vbd("xvda"), NBD, True, Served.QEMU),
        (Vbd("xvda", extra_backend_keys={"backend-kind": "qdisk"}), "/a", False, Served.QEMU),
        (Vbd("xvdd", ty="CDROM"), "/a.iso", True, Served.EMULATED),
        (Vbd("xvdd", ty="CDROM"), "", True, Served.EMULATED),
        (Vbd("xvdd", ty="CDROM"), "/a.iso", False, Served.KERNEL),
    ],
)
def test_who_serves_a_disk(vbd: Vbd, path: str, hvm: bool, served: Served) -> None:
    assert vbd_layout.served_by(vbd, path, hvm=hvm) is served


@pytest.mark.parametrize(
    ("device", "hvm", "devid"),
    [("xvda", True, 768), ("xvdd", True, 5696), ("xvde", True, 51776), ("xvda", False, 51712)],
)
def test_the_first_four_disks_of_an_emulated_pc_are_on_ide(
    device: str, hvm: bool, devid: int
) -> None:
    assert vbd_layout.devid(device, hvm=hvm) == devid


@pytest.mark.parametrize("device", ["", "nonsense", "sdzz", "xvda999"])
def test_what_is_no_disk_name_is_refused(device: str) -> None:
    with pytest.raises(RpcError, match="Does_not_exist"):
        vbd_layout.devid(device, hvm=True)


def test_qemu_names_a_disk_so_that_it_gets_our_number() -> None:
    assert vbd_layout.xen_disk(plugged())["vdev"] == "xvdb"
    assert vbd_layout.xen_disk(plugged(devid=768))["vdev"] == "hda"
    assert vbd_layout.xen_disk(plugged(ty="CDROM"))["driver"] == "xen-cdrom"


def test_data_of_a_disk_for_qemu() -> None:
    assert vbd_layout.nbd_export(NBD) == NbdExport("/run/disk.sock", "v1")
    assert vbd_layout.nbd_export("/dev/sda") is None
    nbd = vbd_layout.data_node("n", NBD, writable=True, block=False)
    assert (nbd["driver"], nbd["export"]) == ("nbd", "v1")
    raw = vbd_layout.data_node("n", "/dev/sda", writable=False, block=True)
    assert (raw["driver"], raw["read-only"]) == ("raw", True)
    assert raw["file"]["driver"] == "host_device"  # type: ignore[index]


def test_polling_keys_keep_to_their_range() -> None:
    keys = {"polling-duration": "-1", "polling-idle-threshold": "101", "sm-data/x": "1"}
    found = vbd_layout.extra_keys(Vbd("xvda", extra_backend_keys=keys))
    assert found == {"polling-duration": "8000", "polling-idle-threshold": "50", "sm-data/x": "1"}


def test_a_block_device_is_named_by_its_numbers_in_hexadecimal() -> None:
    assert vbd_layout.physical_device(stat.S_IFBLK, (202 << 8) | 16) == "ca:10"
    assert vbd_layout.physical_device(stat.S_IFBLK, (253 << 8) | 1 | (1 << 20)) == "fd:101"
    with pytest.raises(ValueError, match="block device"):
        vbd_layout.physical_device(stat.S_IFREG, 0)


VIF = Vif("1", "00:16:3e:00:00:01", "xenbr0", mtu=9000, rate_kbps=100, ipv4_allowed=("1.2.3.4",))


def test_a_network_device() -> None:
    where = vif_layout.place(7, VM, "1")
    found = vif_layout.vif_nodes(where, VIF)
    assert below("/local/domain/7/device/vif/1", found) == {
        "backend": "/local/domain/0/backend/vif/7/1",
        "backend-id": "0",
        "handle": "1",
        "mac": "00:16:3e:00:00:01",
        "disconnect": "0",
        "mtu": "9000",
        "state": "1",
    }
    assert below("/local/domain/0/backend/vif/7/1", found) == {
        "frontend": "/local/domain/7/device/vif/1",
        "frontend-id": "7",
        "online": "1",
        "script": "/bin/true",
        "mac": "00:16:3e:00:00:01",
        "handle": "1",
        "bridge": "xenbr0",
        "type": "vif",
        "rate": "5120,50000",
        "state": "1",
    }
    private = below(f"/xapi/{VM}/private/vif/1", found)
    assert private["ipv4-allowed"] == "1.2.3.4"
    assert private["bridge-MAC"] == "fe:ff:ff:ff:ff:ff"
    assert (private["rate"], private["timeslice"]) == ("100", "50000")
    mirror = below("/xenops/domain/7/device/vif/1", found)
    assert vif_layout.read_record(mirror["record"]) == vif_layout.plugged(VIF)


@pytest.mark.parametrize(
    ("kbps", "timeslice", "rate"),
    [
        (0, 50_000, None),
        (1, 50_000, "51,50000"),
        (1_000_000_000, 1_000_000, None),
        (1, 1, None),
    ],
)
def test_rates_that_netback_cannot_hold_are_no_limit(
    kbps: int, timeslice: int, rate: str | None
) -> None:
    vif = Vif("0", "m", "b", rate_kbps=kbps, rate_timeslice_us=timeslice)
    assert vif_layout.rate(vif) == rate


def test_a_disabled_device_has_no_carrier() -> None:
    where = vif_layout.place(7, VM, "0")
    vif = Vif("0", "m", "b", locking_mode="disabled")
    assert tree(vif_layout.vif_nodes(where, vif))[f"{where.frontend}/disconnect"] == "1"
    before = vif_layout.plugged(Vif("0", "m", "b"))
    assert vif_layout.changes(where, before, vif)[f"{where.frontend}/disconnect"] == "1"
    again = vif_layout.changes(where, before, Vif("0", "m", "c"))
    assert f"{where.frontend}/disconnect" not in again
    assert again[f"{where.backend}/bridge"] == "c"


def test_address_settings_belong_to_the_guest() -> None:
    settings = {"enabled": "1", "address": "10.0.0.2/24", "gateway": "10.0.0.1", "junk": "x"}
    vif = Vif("0", "m", "b", static_ip=settings)
    found = vif_layout.vif_nodes(vif_layout.place(7, VM, "0"), vif)
    base = "/local/domain/7/xenserver/device/vif/0/static-ip-setting"
    assert access(found)[base] == ("n7",)
    assert below(base, found) == {
        "mac": "m", "error-code": "0", "enabled": "1",
        "address": "10.0.0.2/24", "gateway": "10.0.0.1",
    }  # fmt: skip


def test_offload_settings_are_read_leniently() -> None:
    config = {"ethtool-tx": "off", "ethtool-gso": "True", "ethtool-sg": "maybe", "mtu": "9000"}
    assert vif_layout.offloads(config) == {"tx": False, "gso": True}


@pytest.mark.parametrize("device", ["", "x", "-1", "٢"])
def test_what_is_no_network_device_is_refused(device: str) -> None:
    with pytest.raises(RpcError, match="Does_not_exist"):
        vif_layout.devid(device)


@pytest.mark.parametrize(("text", "state"), [(None, 0), ("", 0), ("4", 4), ("99", 0), ("x", 0)])
def test_a_state_made_up_by_the_guest_is_unknown(text: str | None, state: int) -> None:
    assert nodes.state_of(text) is State(state)


def test_everything_of_a_device_is_removed() -> None:
    disk, vbd = plugged(), Vbd("xvdb", backend=DISK)
    where = vbd_layout.place(7, VM, disk)
    gone = nodes.leftovers(where)
    for node in vbd_layout.kernel_nodes(where, vbd, disk, "fd:3"):
        assert any(node.path == path or node.path.startswith(path + "/") for path in gone)


def test_error_nodes_are_where_guests_write_them() -> None:
    place = Place(7, VM, "vbd", 768)
    assert place.error == "/local/domain/7/error/device/vbd/768/error"


def test_pci_addresses() -> None:
    address = pci_layout.parse("03:1f.7")
    assert (str(address), address.sbdf) == ("0000:03:1f.7", 0x3FF)
    assert pci_layout.parse("0001:00:00.0").sbdf == 1 << 16
    assert pci_layout.qemu_device(address)["hostaddr"] == "0000:03:1f.7"
    for text in ("", "3:20.0", "0:0:0", "03:1f.8"):
        with pytest.raises(RpcError, match="Invalid_metadata"):
            pci_layout.parse(text)


def test_pci_resources() -> None:
    text = (
        "0x00000000fe000000 0x00000000fe003fff 0x0000000000040200\n"
        "0x000000000000c000 0x000000000000c01f 0x0000000000040101\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
    )
    memory, ports = pci_layout.resources(text)
    assert (memory.size, memory.ports, pci_layout.frames(memory)) == (0x4000, False, (0xFE000, 4))
    assert (ports.start, ports.size, ports.ports) == (0xC000, 0x20, True)
