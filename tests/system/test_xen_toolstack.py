"""The whole toolstack on real Xen: what a client of the API sees of guests that really run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from XenAPI import Failure

from tests.system import vnc_client
from tests.system.lab import GUESTS, UNPROVEN, leftovers
from tests.system.lab import _xen_lab as _xen_lab
from tests.system.xen_toolstack import ADDRESS, MIB, NULL, SR_DISK, STATE, Toolstack, running
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(scope="module")
def _stack(_xen_lab: Host) -> Iterator[Toolstack]:
    with running(_xen_lab) as stack:
        yield stack


@pytest.fixture
def stack(_stack: Toolstack, xen_lab: Host) -> Iterator[Toolstack]:
    """A toolstack; the guests of a test are ended after it, and nothing of them may be left."""
    yield _stack
    _stack.remove_all()
    assert _stack.disks() == []
    keys = "xenstore-ls -f /xenops 2>/dev/null; xenstore-ls -f /xapi 2>/dev/null; true"
    assert [line for line in xen_lab.output(keys).splitlines() if "domain/" in line] == []


def test_the_records_are_those_of_this_machine(stack: Toolstack) -> None:
    (host,) = stack.x.host.get_all_records().values()
    assert host["name_label"] == host["hostname"] == stack.host.output("hostname").strip()
    assert (host["address"], host["enabled"]) == (ADDRESS, True)
    versions = host["software_version"]
    assert versions["xen"].startswith("4.17.") and versions["network_backend"] == "bridge"
    assert "hvm-3.0-x86_64" in host["capabilities"]
    assert (host["cpu_info"]["vendor"], len(host["host_CPUs"])) == ("AuthenticAMD", 1)
    total = int(stack.x.host_metrics.get_memory_total(host["metrics"]))
    assert 4000 * MIB < total <= 4096 * MIB
    pifs = {pif["device"]: pif for pif in stack.x.PIF.get_all_records().values()}
    assert sorted(pifs) == ["eth0", "eth1", "eth2"]
    management = pifs["eth0"]
    assert (management["management"], management["IP"]) == (True, ADDRESS)
    assert management["MAC"] == stack.host.output("cat /sys/class/net/eth0/address").strip()
    assert management["currently_attached"]
    (pbd,) = (stack.x.PBD.get_record(ref) for ref in stack.x.SR.get_PBDs(stack.sr()))
    assert (pbd["device_config"], pbd["currently_attached"]) == ({"device": SR_DISK}, True)
    assert 7 << 30 < int(stack.x.SR.get_physical_size(stack.sr())) <= 8 << 30
    stack.x.VDI.destroy(stack.vdi())


def test_a_pv_guest_from_template_to_shutdown(stack: Toolstack) -> None:
    vm = stack.vm("life", "pv", name_description="made by the SDK")
    stack.vif(vm)
    stack.vbd(vm, stack.vdi(64))
    assert stack.xe("vm-list", "name-label=life", "params=power-state", "--minimal") == "halted"
    stack.start(vm)
    stack.said("life", "xvda=131072")
    metrics = stack.x.VM.get_record(vm)["guest_metrics"]
    assert stack.x.VM_guest_metrics.get_networks(metrics)["0/ip"] == "10.9.8.2"
    assert stack.ping()
    disk, nic = stack.vbd(vm, stack.vdi(32), "1"), stack.vif(vm, "1")
    stack.x.VBD.plug(disk)
    stack.said("life", "GUEST disk + xvdb=65536")
    stack.x.VIF.plug(nic)
    stack.said("life", f"GUEST nic + eth1={stack.x.VIF.get_MAC(nic)}")
    stack.x.VBD.unplug(disk)
    stack.x.VIF.unplug(nic)
    stack.said("life", "GUEST disk - xvdb")
    assert not stack.x.VBD.get_currently_attached(disk)
    before = stack.x.VM.get_domid(vm)
    stack.forget_console(vm)
    stack.x.VM.clean_reboot(vm)
    assert int(stack.x.VM.get_domid(vm)) > int(before)
    stack.said("life", "GUEST READY life")
    assert stack.ping()
    stack.x.VM.clean_shutdown(vm)
    record = stack.x.VM.get_record(vm)
    assert (record["power_state"], record["resident_on"]) == ("Halted", NULL)
    assert leftovers(stack.host) == []


def test_a_pvh_guest_is_kept_in_memory_and_on_disk(stack: Toolstack) -> None:
    vm = stack.vm("kept", "pvh")
    stack.vif(vm)
    stack.vbd(vm, stack.vdi(32))
    stack.start(vm)
    visits, _ = stack.visit()
    stack.x.VM.suspend(vm)
    assert stack.x.VM.get_power_state(vm) == "Suspended"
    assert leftovers(stack.host) == []
    stack.x.VM.resume(vm, False, False)
    assert stack.visit()[0] == visits + 1
    stack.type(vm, "echo before | dd of=/dev/xvda bs=512 conv=sync,fsync && echo WRITTEN-$((1+1))")
    stack.said("kept", "WRITTEN-2")
    checkpoint = stack.x.VM.checkpoint(vm, "here")
    assert stack.x.VM.get_power_state(checkpoint) == "Suspended"
    assert stack.visit()[0] == visits + 2
    stack.type(vm, "echo after | dd of=/dev/xvda bs=512 conv=sync,fsync && echo WRITTEN-$((1+2))")
    stack.said("kept", "WRITTEN-3")
    stack.x.VM.revert(checkpoint)
    assert stack.x.VM.get_power_state(vm) == "Suspended"
    stack.x.VM.resume(vm, False, False)
    assert stack.visit()[0] == visits + 2
    stack.forget_console(vm)
    stack.type(vm, "echo 3 >/proc/sys/vm/drop_caches; echo DISK-$(head -c 6 /dev/xvda)-")
    stack.said("kept", "DISK-before")
    stack.x.VM.hard_shutdown(vm)
    assert stack.x.VM.get_power_state(vm) == "Halted"


def hvm_guest(stack: Toolstack) -> str:
    """Start a guest with full virtualisation from a disk with a boot sector."""
    vm = stack.vm("full", "hvm", 64, HVM_boot_params={"order": "c"})
    image = stack.host.get(f"{GUESTS}/hvm.img")
    disk = stack.vdi(-(-len(image) // MIB))
    stack.write(disk, image)
    stack.vbd(vm, disk)
    stack.x.VM.start(vm, False, False)
    return vm


def screen_of(stack: Toolstack, vm: str) -> AbstractContextManager[vnc_client.Screen]:
    """Connect to a guest's screen as a graphical client does."""
    (console,) = (stack.x.console.get_record(ref) for ref in stack.x.VM.get_consoles(vm))
    assert console["protocol"] == "rfb"
    return vnc_client.connected(stack.tls_port, console["location"], stack.session.handle)


def test_a_fully_virtualised_guest_starts_and_its_screen_is_seen(stack: Toolstack) -> None:
    vm = hvm_guest(stack)
    with screen_of(stack, vm) as screen:
        assert screen.size[0] >= 640
    stack.x.VM.hard_shutdown(vm)
    assert leftovers(stack.host) == []


@UNPROVEN
def test_a_fully_virtualised_guest_obeys_its_keyboard(stack: Toolstack) -> None:
    vm = hvm_guest(stack)
    with screen_of(stack, vm) as screen:

        def off() -> bool:
            halted = bool(stack.x.VM.get_power_state(vm) == "Halted")
            if not halted:
                screen.press("p")
            return halted

        stack.until("the guest obeys its keyboard", "vm", off, every_s=3.0)
    assert leftovers(stack.host) == []


def test_a_guest_that_crashes_is_started_again(stack: Toolstack) -> None:
    vm = stack.vm("crash", "pv", actions_after_crash="restart")
    stack.start(vm)
    before = int(stack.x.VM.get_domid(vm))
    stack.let_time_pass(150)
    stack.type(vm, "echo c >/proc/sysrq-trigger")
    stack.until("a new domain", "vm", lambda: int(stack.x.VM.get_domid(vm)) > before)
    stack.until_state(vm, "Running")
    stack.x.VM.hard_shutdown(vm)


@UNPROVEN  # the error was seen, the test has not passed as a whole
def test_a_guest_that_ignores_the_shutdown_goes_on(stack: Toolstack) -> None:
    vm = stack.vm("deaf", "pv")
    stack.start(vm)
    stack.type(
        vm,
        "rm /sbin/poweroff; printf '#!/bin/sh\\necho A$((1+1))SKED >/dev/console\\n' "
        ">/sbin/poweroff; chmod +x /sbin/poweroff; echo DEAF-$((1+1))",
    )
    stack.said("deaf", "DEAF-2")
    task = stack.x.Async.VM.clean_shutdown(vm)
    stack.said("deaf", "A2SKED")
    stack.let_time_pass(1300)
    assert stack.ended(task)[:2] == ["VM_SHUTDOWN_TIMEOUT", vm]
    assert stack.x.VM.get_power_state(vm) == "Running"
    stack.x.VM.hard_shutdown(vm)


@pytest.mark.parametrize("kernel", ["none", "corrupt"])
def test_a_guest_without_a_kernel_that_boots_does_not_start(stack: Toolstack, kernel: str) -> None:
    stack.host.put("/var/lib/corrupt", b"\x7fELF no kernel at all" * 100)
    vm = stack.vm("nothing", "pvh", PV_kernel=f"/var/lib/{kernel}")
    stack.vif(vm)
    with pytest.raises(Failure) as refused:
        stack.x.VM.start(vm, False, False)
    code, text = refused.value.details
    assert (code, "Domain_not_built" in text) == ("INTERNAL_ERROR", True)
    assert {"none": "there is no such file", "corrupt": "no loader found"}[kernel] in text
    assert stack.x.VM.get_power_state(vm) == "Halted"
    assert leftovers(stack.host) == []


def test_a_guest_that_does_not_fit_does_not_start(stack: Toolstack) -> None:
    vm = stack.vm("large", "pv", 3000)
    with pytest.raises(Failure) as refused:
        stack.x.VM.start(vm, False, False)
    assert refused.value.details[0] == "HOST_NOT_ENOUGH_FREE_MEMORY"
    with pytest.raises(Failure) as refused:
        stack.x.VM.start_on(vm, stack.x.host.get_all()[0], False, False)
    assert refused.value.details[0] == "HOST_NOT_ENOUGH_FREE_MEMORY"
    assert leftovers(stack.host) == []


def test_a_guest_whose_disk_is_lost_does_not_start(stack: Toolstack) -> None:
    vm = stack.vm("lost", "pv")
    disk = stack.vdi(16)
    stack.vbd(vm, disk)
    stack.host.output(f"find {STATE}/host-1/smd/run/mounts -path '*/nodes/*' -type f -delete")
    with pytest.raises(Failure) as refused:
        stack.x.VM.start(vm, False, False)
    assert refused.value.details[0] == "SR_BACKEND_FAILURE_46"
    assert stack.x.VM.get_power_state(vm) == "Halted"
    assert leftovers(stack.host) == []
