"""A real PCI function in guests on real Xen, behind the IOMMU of a lab of its own."""

from collections.abc import Iterator

import pytest

from tests.system.lab import flavours, leftovers, started
from tests.system.xen_daemon import DaemonError, XenDaemon, metadata
from tests.xenlab.lab import Host
from tests.xenlab.qemu import SPARE_CARD

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.lab]

VM = "7c1f1a52-0000-4000-8000-000000000021"
NAME = "passthrough"


@pytest.fixture(scope="module")
def daemon(request: pytest.FixtureRequest) -> Iterator[XenDaemon]:
    for lab in started(request, flavours(iommu=True)):
        made = XenDaemon(lab.host)
        yield made
        made.stop()


@pytest.fixture
def card(daemon: XenDaemon) -> Iterator[str]:
    """The address of the spare card; whatever has it ends after the test."""
    yield address_of_card(daemon.host)
    for vm in daemon.call("VM.list"):
        if vm["power_state"] != "Halted":
            daemon.call("VM.shutdown", id=vm["id"], force=True)
        daemon.call("VM.remove", id=vm["id"])
    assert leftovers(daemon.host) == []


def address_of_card(host: Host) -> str:
    shown = host.output("grep -l 0x100e /sys/bus/pci/devices/*/device")
    return shown.strip().split("/")[-2]


def driver(host: Host, card: str) -> str:
    return host.output(f"basename $(readlink /sys/bus/pci/devices/{card}/driver)").strip()


def start(daemon: XenDaemon, ty: str, card: str) -> None:
    function = {"device": f"0_{card}", "address": card, "options": {}}
    daemon.call("VM.import_metadata", md=metadata(VM, NAME, ty) | {"pcis": [function]})
    daemon.call("VM.start", id=VM)


def test_without_its_driver_a_function_stays_where_it_is(daemon: XenDaemon, card: str) -> None:
    daemon.host.run("modprobe -r xen-pciback")
    with pytest.raises(DaemonError, match="xen-pciback is not loaded"):
        start(daemon, "PV", card)


def test_a_paravirtual_guest_drives_a_card(daemon: XenDaemon, card: str) -> None:
    daemon.host.output("modprobe xen-pciback")
    start(daemon, "PV", card)
    daemon.wait_for_console(NAME, f"GUEST READY {NAME}")
    daemon.wait_for_console(NAME, f"eth0={SPARE_CARD}")
    assert daemon.call("VM.stat", id=VM)["pcis"] == [f"0_{card}"]
    assert driver(daemon.host, card) == "pciback"
    daemon.kill()
    daemon.start()
    assert daemon.call("VM.stat", id=VM)["pcis"] == [f"0_{card}"]
    daemon.call("VM.shutdown", id=VM, force=True)


def test_an_emulated_board_gets_a_card(daemon: XenDaemon, card: str) -> None:
    daemon.host.output("modprobe xen-pciback")
    start(daemon, "HVM", card)
    assert daemon.call("VM.stat", id=VM)["pcis"] == [f"0_{card}"]
    backend = f"/local/domain/0/backend/pci/{daemon.domid(VM)}/0"
    assert daemon.host.output(f"xenstore-read {backend}/dev-0").strip() == card
