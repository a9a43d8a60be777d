"""What a hypervisor backend does, one method an effect.

The daemon above decides what happens to a VM and in which order; a backend
makes each effect true and reports what it sees.  Methods that change a domain
are coroutines: they may be cancelled at any await and then leave the domain in
a state from which ``destroy`` works.  A backend keeps nothing in the daemon's
memory that a killed daemon would need: all of it is found again in ``domains``.

Errors are ``RpcError`` values of ``xenops.errors``; ``Does_not_exist`` with
kind "domain" for a domain that is gone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from xenops.metadata import Disk, Passthrough, Vbd, Vif, VmConfig, VmMetadata


class ShutdownReason(StrEnum):
    """Why a domain has stopped by itself."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    SUSPEND = "suspend"
    CRASH = "crash"
    WATCHDOG = "watchdog"
    SOFT_RESET = "soft_reset"


GuestRequest = Literal["poweroff", "reboot", "suspend", "halt"]
GuestAction = Literal["poweroff", "reboot", "crash", "suspend", "watchdog"]


@dataclass(frozen=True, slots=True)
class DomainInfo:
    """A domain, as far as every operation needs to know it.

    ``survivable`` is false from its creation until ``clear_action_request``: a
    daemon that finds such a domain at its start destroys it.
    """

    domid: int
    vm: str
    paused: bool
    shutdown: ShutdownReason | None
    survivable: bool


@dataclass(frozen=True, slots=True)
class Console:
    """A way to see the guest: ``path`` is a unix socket, ``port`` TCP or -1."""

    protocol: Literal["rfb", "vt100"]
    port: int = -1
    path: str = ""


@dataclass(frozen=True, slots=True)
class VbdStat:
    """A plugged block device; ``disk`` is None for an empty drive."""

    plugged: bool
    media_present: bool
    disk: Disk | None


@dataclass(frozen=True, slots=True)
class VifStat:
    """A plugged network device."""

    plugged: bool
    mac: str
    bridge: str
    carrier: bool
    locking_mode: str


@dataclass(frozen=True, slots=True)
class DomainStat:
    """Everything about a domain that may change while it runs.  Memory in bytes."""

    memory_target: int
    memory_actual: int
    memory_limit: int
    vcpu_target: int
    shadow_multiplier_target: float
    rtc_timeoffset: str
    uncooperative_balloon_driver: bool
    guest_agent: Mapping[str, str]
    xsdata: Mapping[str, str]
    pv_drivers_detected: bool
    consoles: Sequence[Console]
    vbds: Mapping[str, VbdStat]
    vifs: Mapping[str, VifStat]
    pcis: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A PCI device of the host.  Numbers are hexadecimal, ``class_id`` has four digits.

    ``physical_function`` is the address of the device this is a virtual function of.
    """

    address: str
    class_id: str
    vendor_id: str
    device_id: str
    subsystem_vendor_id: str = ""
    subsystem_device_id: str = ""
    class_name: str = ""
    vendor_name: str = ""
    device_name: str = ""
    subsystem_vendor_name: str = ""
    subsystem_device_name: str = ""
    driver: str = ""
    physical_function: str = ""


@dataclass(frozen=True, slots=True)
class HostStat:
    """The host as the hypervisor sees it.  Memory in bytes; ``bios`` is what its firmware says.

    ``boot_time`` is when the machine started, in unix seconds; 0 when nobody knows, as is
    ``control_domain_vcpus``.  ``memory_overhead`` is in use, but no domain's.
    """

    memory_total: int
    memory_free: int
    control_domain_memory: int
    cpu: Mapping[str, str]
    hypervisor: Mapping[str, str]
    chipset: Mapping[str, str]
    bios: Mapping[str, str] = field(default_factory=dict)
    boot_time: int = 0
    control_domain_vcpus: int = 0
    pcis: Sequence[PciDevice] = ()
    memory_overhead: int = 0


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """What a new domain may take: between the two sizes, overhead included."""

    memory_min_bytes: int
    memory_max_bytes: int


@dataclass(frozen=True, slots=True)
class Change:
    """Something about a VM changed by itself; ``device`` is empty for the VM."""

    kind: Literal["vm", "vbd", "vif"]
    vm: str
    device: str = ""


Listener = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class SavedMemory:
    """The outcome of ``save``; ``inline`` is the image when the disk has no path."""

    memory_bytes: int
    inline: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Migration:
    """How a migration to another host ended.

    "there": the guest runs on the other host and is to be ended here.  "here":
    it is to go on here; ``text`` says why.  "unknown": the last step was asked
    for and the other host cannot be reached: the domain must stay as it is.
    """

    outcome: Literal["there", "here", "unknown"]
    text: str = ""


class SendSteps(Protocol):
    """What a source does on its way, when the backend says so."""

    async def suspend(self) -> None:
        """Have the guest stop so that the last of its memory can be sent."""

    async def let_go(self) -> None:
        """Give up the guest's disks; it never runs here again unless the move is taken back."""

    def progress(self, fraction: float) -> None:
        """So much of the present round is done."""


class ReceiveSteps(Protocol):
    """What a target does on its way."""

    async def create(self, hello: Mapping[str, Any]) -> int:
        """Make an empty domain for what the source says of its guest, and give its id."""

    async def run(self) -> None:
        """Give the domain its devices and let it run; when it fails nothing is left."""


class Backend(Protocol):
    """A hypervisor."""

    name: str

    reads_boot_disk: bool
    """Whether ``build`` of a guest with a boot loader needs the disk it boots from."""

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` at every change that no call of the daemon made."""

    async def stop(self) -> None:
        """Let go of the hypervisor; domains keep running."""

    def flush(self) -> None:
        """Make what was done so far outlive this process; called before any answer."""

    def domains(self) -> Sequence[DomainInfo]:
        """Give all domains of VMs, those of nobody we know included."""

    def find(self, vm: str) -> DomainInfo | None:
        """Give the domain of a VM, the newest when there are two; O(1)."""

    def stat(self, domid: int) -> DomainStat: ...

    def host_stat(self) -> HostStat: ...

    def host_metrics(self) -> Mapping[str, object]: ...

    def metrics(self) -> Mapping[str, Mapping[str, object]]:
        """Give the counters and gauges of all running domains by VM."""

    def console_data(self) -> str:
        """Give what the hypervisor has written to its console ring."""

    def send_debug_keys(self, keys: str) -> None: ...

    def set_guest_agent_features(self, features: Mapping[str, Mapping[str, object]]) -> None:
        """Publish to all guests what their agents are licensed to do."""

    async def create(self, vm: VmMetadata, request: CreateRequest) -> int:
        """Reserve memory and make an empty, paused, not survivable domain.

        Gives its id, higher than any before.  Errors:
        Cannot_free_this_much_memory(needed, free).
        """

    async def build(self, domid: int, vm: VmConfig, boot_disk: str = "") -> None:
        """Load the guest: kernel or firmware, memory, virtual CPUs.

        ``boot_disk`` is what the storage gave for the first bootable disk,
        where ``reads_boot_disk`` asks for it.  Errors: Domain_not_built,
        Bootloader_error.
        """

    async def restore(
        self, domid: int, vm: VmConfig, path: str, inline: Mapping[str, object]
    ) -> None:
        """Load the guest from a suspend image.  Errors: IO_error."""

    async def save(self, domid: int, path: str) -> SavedMemory:
        """Write the image of a domain that has stopped to suspend.

        Errors: IO_error; the domain can be resumed after it.
        """

    async def send(
        self, domid: int, address: str, hello: Mapping[str, Any], steps: SendSteps
    ) -> Migration:
        """Give a running domain to the host that listens at an address.

        ``address`` is ``unix:PATH`` or ``tcp:HOST:PORT``; ``hello`` goes to the
        other end, its ``token`` says for whom it is meant.
        """

    async def receive(
        self, vm: VmConfig, token: str, steps: ReceiveSteps, listening: Callable[[str], None]
    ) -> Migration:
        """Take a domain over; ``listening`` gets the path of the socket to send to.

        "there" or "here", seen from the source: here is where it stays.
        """

    async def create_device_model(self, domid: int, vm: VmMetadata, *, restore: bool) -> None:
        """Start the emulator and the consoles.  Errors: Failed_to_start_emulator."""

    async def open_console(self, domid: int, protocol: Literal["rfb", "vt100"]) -> Console:
        """Give a console that somebody listens on.  Errors: Does_not_exist."""

    async def destroy_device_model(self, domid: int) -> None:
        """End the emulator and the consoles; nothing to do when there are none."""

    async def clear_action_request(self, domid: int) -> None:
        """Make the domain survivable."""

    async def pause(self, domid: int) -> None: ...

    async def unpause(self, domid: int) -> None: ...

    async def request_shutdown(
        self, domid: int, request: GuestRequest, ack_timeout_s: float
    ) -> bool:
        """Ask the guest to stop; whether it acknowledged in time.

        A guest without drivers cannot be asked and is stopped instead, which
        counts as acknowledged.
        """

    async def wait_shutdown(self, domid: int, timeout_s: float) -> ShutdownReason | None:
        """Wait until the domain has stopped; None when it did not in time.

        Errors: Does_not_exist when it vanished.
        """

    async def resume_fast(self, domid: int) -> None:
        """Let a domain that stopped to suspend go on where it was."""

    async def destroy(self, domid: int) -> None:
        """End the domain; nothing to do when it is gone."""

    async def vbd_plug(self, domid: int, vbd: Vbd, path: str) -> None:
        """``path`` is what the storage gave for the disk, empty without a medium."""

    async def vbd_unplug(self, domid: int, device: str, *, force: bool) -> Disk | None:
        """Unplug and give the disk that was in it.

        Errors: Device_not_connected, Device_detach_rejected; with ``force`` none.
        """

    async def vbd_insert(self, domid: int, device: str, disk: Disk, path: str) -> None:
        """Put a medium into an empty drive.  Errors: Media_present, Device_not_connected."""

    async def vbd_eject(self, domid: int, device: str) -> Disk:
        """Empty a drive and give the disk that was in it.

        Errors: Media_not_present, Device_not_connected.
        """

    async def vbd_moved(self, domid: int, device: str, disk: Disk) -> None:
        """Note that a plugged disk is another one now, behind the same path.

        Errors: Device_not_connected.
        """

    async def vif_plug(self, domid: int, vif: Vif) -> None: ...

    async def vif_unplug(self, domid: int, device: str, *, force: bool) -> None: ...

    async def vif_update(self, domid: int, vif: Vif) -> None:
        """Take over bridge, carrier, locking mode and addresses of a plugged VIF.

        With ``static_ip`` empty the guest's own address settings stay as they are.
        """

    async def pci_plug(self, domid: int, pci: Passthrough) -> None: ...

    async def pci_unplug(self, domid: int, device: str) -> None: ...

    async def set_vcpus(self, domid: int, count: int) -> None: ...

    async def set_memory_dynamic_range(self, domid: int, min_bytes: int, max_bytes: int) -> None:
        """Let the guest balloon within a range.  Errors: Cannot_free_this_much_memory."""

    async def set_shadow_multiplier(self, domid: int, multiplier: float) -> None: ...

    async def set_xsdata(self, domid: int, data: Mapping[str, str]) -> None: ...

    async def s3_suspend(self, domid: int) -> None: ...

    async def s3_resume(self, domid: int) -> None: ...

    async def run_guest(self, domid: int, action: GuestAction) -> None:
        """Make the guest do something by itself.  Errors: Unimplemented on real hosts."""

    def inject_fault(self, fault: Mapping[str, object]) -> None:
        """Make a later effect fail.  Errors: Unimplemented on real hosts."""

    def clear_faults(self) -> None:
        """Forget all injected faults."""

    def power_cycle(self) -> None:
        """Lose all domains at once, as when the host loses power; simulator only."""
