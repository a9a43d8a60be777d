"""PCI functions handed to domains, against drivers in memory and a kernel's files."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit.xenops.factories import done
from tests.unit.xenops.xen.device_bench import DOMID, HOME, DeviceBench
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.xen.devices.pci_layout import PciAddress, Resource, parse
from xenops.backends.xen.devices.pcis import Pcis
from xenops.backends.xen.pci_functions import Function, FunctionUnusable, LinuxPciFunctions
from xenops.metadata import Passthrough
from xenops.qmp.client import QmpError

FIRST = Passthrough("0_0000:03:00.0", "0000:03:00.0")
SECOND = Passthrough("1_0000:03:00.1", "0000:03:00.1")
BACKEND = f"/local/domain/0/backend/pci/{DOMID}/0"
RESOURCES = (Resource(0xFE000000, 0x4000, False), Resource(0xE000, 32, True))


@dataclass
class FakeFunctions:
    """The functions of a host; ``refuse`` is why one cannot be taken."""

    refuse: str = ""
    resets: list[str] = field(default_factory=list)

    def take(self, address: PciAddress) -> Function:
        if self.refuse:
            raise FunctionUnusable(self.refuse)
        first = address.function == 0
        return Function(address, RESOURCES if first else (), 11 if first else 0)

    def reset(self, address: PciAddress) -> None:
        self.resets.append(str(address))


@dataclass
class FakeBoards:
    devices: list[dict[str, object]] = field(default_factory=list)
    refuse: bool = False

    async def add_device(self, domid: int, options: dict[str, object]) -> None:
        if self.refuse:
            raise QmpError("device_add", "GenericError", "no such host device")
        self.devices.append(options)


class Bench(DeviceBench):
    def __init__(self, folder: Path, *, hvm: bool = False) -> None:
        super().__init__(folder, hvm=hvm)
        self.functions = FakeFunctions()
        self.boards = FakeBoards()
        self.given = self.host.xc.pci.given
        self.pcis = self.fresh()

    def fresh(self) -> Pcis:
        """Give the functions of a daemon that has just started."""
        return Pcis(self.host, self.domains, self.kernel, self.functions, self.boards)

    def nodes(self) -> dict[str, str | None]:
        """Give what pciback is told of its functions."""
        names = ("num_devs", "dev-0", "dev-1")
        return {name: self.server.value(f"{BACKEND}/{name}") for name in names}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.drivers.guest = False  # it runs later
    return made


def test_a_function_comes_with_all_it_needs_and_nothing_is_left(bench: Bench) -> None:
    done(bench.pcis.plug(DOMID, FIRST))
    sbdf = parse(FIRST.address).sbdf
    assert bench.given == {
        ("assign", DOMID, sbdf),
        ("memory", DOMID, 0xFE000),
        ("ports", DOMID, 0xE000),
        ("irq", DOMID, 111),
    }
    assert bench.pcis.stat(DOMID) == ["0_0000:03:00.0"]
    assert bench.nodes() == {"num_devs": "1", "dev-0": "0000:03:00.0", "dev-1": None}
    done(bench.pcis.remove_all(DOMID))
    # Ports and memory end with the domain; the function and its interrupt must not wait for that.
    assert not {item for item in bench.given if item[0] in ("assign", "irq")}
    assert (bench.leftovers(), bench.functions.resets) == ([], ["0000:03:00.0"])


def test_two_functions_are_one_device_of_the_guest(bench: Bench) -> None:
    done(bench.pcis.plug(DOMID, FIRST))
    done(bench.pcis.plug(DOMID, SECOND))
    assert bench.nodes() == {"num_devs": "2", "dev-0": "0000:03:00.0", "dev-1": "0000:03:00.1"}
    assert bench.server.value(f"{BACKEND}/state") == "3"
    done(bench.pcis.remove_all(DOMID))
    assert bench.leftovers() == []


def test_a_second_function_that_fails_leaves_the_first(bench: Bench) -> None:
    done(bench.pcis.plug(DOMID, FIRST))
    kept = set(bench.given)
    bench.drivers.broken = "cannot export"
    with pytest.raises(RpcError, match="Hotplug_failed"):
        done(bench.pcis.plug(DOMID, SECOND))
    assert bench.given == kept
    assert bench.nodes() == {"num_devs": "1", "dev-0": "0000:03:00.0", "dev-1": None}
    assert bench.pcis.stat(DOMID) == ["0_0000:03:00.0"]


def test_a_function_is_one_domain_s_only(bench: Bench) -> None:
    done(bench.pcis.plug(DOMID, FIRST))
    bench.domains.known[8] = type(bench.domains.known[DOMID])(8)
    with pytest.raises(RpcError, match="Device_is_connected"):
        done(bench.pcis.plug(8, FIRST))


def test_a_guest_that_runs_gets_none(bench: Bench) -> None:
    done(bench.pcis.plug(DOMID, FIRST))
    bench.server.put(f"{HOME}/device/pci/0/state", "4")
    with pytest.raises(RpcError, match="Unimplemented"):
        done(bench.pcis.plug(DOMID, SECOND))


@pytest.mark.parametrize("fault", ["taken", "assign", "memory", "irq", "driver", "emulator"])
def test_a_plug_that_fails_leaves_nothing(tmp_path: Path, fault: str) -> None:
    bench = Bench(tmp_path, hvm=True)
    bench.functions.refuse = "in use" if fault == "taken" else ""
    bench.host.xc.pci.refuse = fault
    bench.drivers.broken = "cannot export" if fault == "driver" else ""
    bench.boards.refuse = fault == "emulator"
    with pytest.raises(RpcError, match="Hotplug_failed"):
        done(bench.pcis.plug(DOMID, FIRST))
    bench.server.drop("/local/domain/0/error")
    assert (bench.leftovers(), bench.given, list(bench.pcis.stat(DOMID))) == ([], set(), [])


def test_an_emulated_board_gets_it_from_its_emulator(tmp_path: Path) -> None:
    bench = Bench(tmp_path, hvm=True)
    done(bench.pcis.plug(DOMID, FIRST))
    (device,) = bench.boards.devices
    assert (device["driver"], device["hostaddr"]) == ("xen-pci-passthrough", "0000:03:00.0")


def test_a_daemon_that_starts_again_takes_back_what_it_gave(bench: Bench) -> None:
    done(bench.pcis.plug(DOMID, FIRST))
    again = bench.fresh()
    done(again.recover(DOMID))
    assert again.stat(DOMID) == ["0_0000:03:00.0"]
    done(again.remove_all(DOMID))
    assert not {item for item in bench.given if item[0] in ("assign", "irq")}
    assert bench.leftovers() == []


class Sysfs:
    """A kernel's files: two functions, one with a NIC; writes are answered by ``Reacting``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pciback = root / "sys/bus/pci/drivers/pciback"
        self.e1000 = root / "sys/bus/pci/drivers/e1000"
        self.function = root / "sys/bus/pci/devices/0000:03:00.0"
        for folder in (self.pciback, self.e1000, self.function, root / "proc/self"):
            folder.mkdir(parents=True)
        for node in ("slots", "new_slot", "bind"):
            (self.pciback / node).write_text("")
        (self.e1000 / "unbind").write_text("")
        (self.function / "driver").symlink_to(self.e1000)
        (self.function / "reset").write_text("")
        (self.function / "irq").write_text("11\n")
        (self.function / "resource").write_text(
            "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n"
            "0x000000000000e000 0x000000000000e01f 0x0000000000040101\n"
        )
        (root / "proc/self/mounts").write_text("/dev/sda1 / ext4 rw 0 0\n")

    def written(self) -> dict[str, str]:
        nodes = (self.e1000 / "unbind", self.pciback / "new_slot", self.pciback / "bind")
        return {node.name: node.read_text() for node in (*nodes, self.function / "reset")}

    def take(self) -> Function:
        return LinuxPciFunctions(self.root).take(parse("03:00.0"))


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


def test_a_function_changes_its_driver_and_is_reset(sysfs: Sysfs) -> None:
    taken = sysfs.take()
    address = "0000:03:00.0"
    wanted = {"unbind": address, "new_slot": address, "bind": address, "reset": "1"}
    assert sysfs.written() == wanted
    assert (taken.irq, taken.resources) == (11, RESOURCES)


def test_a_function_that_is_set_aside_already_is_only_reset(sysfs: Sysfs) -> None:
    (sysfs.function / "driver").unlink()
    (sysfs.function / "driver").symlink_to(sysfs.pciback)
    sysfs.take()
    assert sysfs.written() == {"unbind": "", "new_slot": "", "bind": "", "reset": "1"}


def break_nothing(sysfs: Sysfs) -> None:
    os.rename(sysfs.pciback, sysfs.pciback.with_name("other"))


def bridge_it(sysfs: Sysfs) -> None:
    (sysfs.function / "net/eth0/upper_xenbr0").mkdir(parents=True)


def mount_it(sysfs: Sysfs) -> None:
    (sysfs.function / "host0/target0/block/sda/sda1").mkdir(parents=True)
    (sysfs.function / "host0/target0/block/sda/sda1/partition").write_text("1")


def hold_it(sysfs: Sysfs) -> None:
    (sysfs.function / "nvme/nvme0/block/nvme0n1/holders/dm-0").mkdir(parents=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (break_nothing, "xen-pciback is not loaded"),
        (bridge_it, "needs it for eth0"),
        (mount_it, "needs it for sda1"),
        (hold_it, "needs it for nvme0n1"),
        (lambda sysfs: (sysfs.function / "irq").write_text("?"), "cannot be taken"),
    ],
)
def test_a_function_that_cannot_be_taken_says_why(sysfs: Sysfs, change: Any, said: str) -> None:
    change(sysfs)
    with pytest.raises(FunctionUnusable, match=said):
        sysfs.take()


def test_a_function_that_is_not_there(sysfs: Sysfs) -> None:
    with pytest.raises(FunctionUnusable, match="no such function"):
        LinuxPciFunctions(sysfs.root).take(parse("04:00.0"))
