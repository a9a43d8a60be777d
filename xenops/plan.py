"""From a VM and an operation to the steps that carry it out; pure.

A plan is a tree of ``Serial`` and ``Parallel`` steps with ``Atom`` leaves.  The
order is that of the reference toolstack: all writable disks before any
read-only one, because two VBDs may share a datapath, which has to be attached
writable first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from xenops.metadata import Vbd, VmMetadata


class AtomKind(StrEnum):
    """The smallest effects an operation is made of."""

    HOOK = "VM_hook_script"
    CREATE = "VM_create"
    BUILD = "VM_build"
    RESTORE = "VM_restore"
    SAVE = "VM_save"
    CREATE_DEVICE_MODEL = "VM_create_device_model"
    DESTROY_DEVICE_MODEL = "VM_destroy_device_model"
    CLEAR_ACTION_REQUEST = "VM_set_domain_action_request"
    PAUSE = "VM_pause"
    UNPAUSE = "VM_unpause"
    SHUTDOWN_DOMAIN = "VM_shutdown_domain"
    DELAY = "VM_delay"
    DESTROY = "VM_destroy"
    VBD_SET_ACTIVE = "VBD_set_active"
    VBD_EPOCH_BEGIN = "VBD_epoch_begin"
    VBD_EPOCH_END = "VBD_epoch_end"
    VBD_PLUG = "VBD_plug"
    VBD_UNPLUG = "VBD_unplug"
    VIF_SET_ACTIVE = "VIF_set_active"
    VIF_PLUG = "VIF_plug"
    VIF_UNPLUG = "VIF_unplug"
    PCI_PLUG = "PCI_plug"
    PCI_UNPLUG = "PCI_unplug"
    VGPU_SET_ACTIVE = "VGPU_set_active"
    VUSB_PLUG = "VUSB_plug"
    VUSB_UNPLUG = "VUSB_unplug"


WEIGHTS = {
    AtomKind.BUILD: 10.0,
    AtomKind.RESTORE: 30.0,
    AtomKind.SAVE: 30.0,
    AtomKind.SHUTDOWN_DOMAIN: 10.0,
    AtomKind.CREATE_DEVICE_MODEL: 3.0,
    AtomKind.VBD_PLUG: 2.0,
}
"""Share of an operation's progress; 1 where absent."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One effect; ``device`` and ``option`` mean what the kind says.

    Hooks: device is the script folder, option the reason.  Shutdown requests
    and delays: option is the request or the seconds.  ``*_set_active``: option
    "true" or "false".  Unplugs: option "hard" or "clean".
    """

    kind: AtomKind
    device: str = ""
    option: str = ""


@dataclass(frozen=True, slots=True)
class Serial:
    """Steps one after the other; a failure skips the rest."""

    name: str
    steps: tuple["Step", ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Steps side by side; the first failure cancels the others."""

    name: str
    steps: tuple["Step", ...]


Step = Atom | Serial | Parallel


def atoms(step: Step) -> Iterator[Atom]:
    """Give the leaves of a plan in order."""
    if isinstance(step, Atom):
        yield step
    else:
        for inner in step.steps:
            yield from atoms(inner)


def weight(step: Step) -> float:
    """Give the total weight of a plan."""
    return sum(WEIGHTS.get(atom.kind, 1.0) for atom in atoms(step))


def start(md: VmMetadata) -> Serial:
    """Plan from no domain to a paused domain that survives us."""
    steps: list[Step] = [
        Atom(AtomKind.HOOK, "vm-pre-start", "none"),
        Atom(AtomKind.CREATE),
        Atom(AtomKind.BUILD),
    ]
    return Serial("VM.start", (*steps, *_devices(md, fresh=True), *_finish(md)))


def resume(md: VmMetadata) -> Serial:
    """Plan from a suspend image to a paused domain with its memory back."""
    steps: list[Step] = [
        Atom(AtomKind.CREATE, option="resume"),
        Atom(AtomKind.HOOK, "vm-pre-resume", "none"),
        Atom(AtomKind.RESTORE),
    ]
    tail = Atom(AtomKind.HOOK, "vm-post-resume", "none")
    return Serial("VM.resume", (*steps, *_devices(md, fresh=False), *_finish(md), tail))


def arrive(md: VmMetadata) -> Serial:
    """Plan from memory that has just been saved to a paused domain that has it."""
    steps: list[Step] = [
        Atom(AtomKind.CREATE, option="resume"),
        Atom(AtomKind.RESTORE, option="inline"),
    ]
    return Serial("VM.migrate", (*steps, *_devices(md, fresh=False), *_finish(md)))


def make_empty() -> Serial:
    """Plan a domain for memory that comes from another host."""
    return Serial("VM.receive", (Atom(AtomKind.CREATE, option="resume"),))


def settle(md: VmMetadata) -> Serial:
    """Plan from a paused domain that has its memory to a running one with its devices."""
    devices = _devices(md, fresh=False)
    return Serial("VM.receive", (*devices, *_finish(md), Atom(AtomKind.UNPAUSE)))


def shutdown(md: VmMetadata, *, clean: bool) -> tuple[Serial, Serial]:
    """Plan from a domain to none: (what may be cancelled, what may not)."""
    reason = "clean-shutdown" if clean else "hard-shutdown"
    ask = (Atom(AtomKind.SHUTDOWN_DOMAIN, option="poweroff"),) if clean else ()
    end = Serial(
        "VM.poweroff",
        (
            Atom(AtomKind.HOOK, "vm-pre-shutdown", reason),
            *_teardown(md, reason, keep_active=False),
        ),
    )
    return Serial("VM.shutdown", ask), end


def reboot(md: VmMetadata, *, clean: bool, delay_s: float = 0.0) -> tuple[Serial, Serial, Serial]:
    """Plan from a domain to none, and to a new one: (ask, end, begin)."""
    reason = "clean-reboot" if clean else "hard-reboot"
    ask = (Atom(AtomKind.SHUTDOWN_DOMAIN, option="reboot"),) if clean else ()
    end = Serial(
        "VM.reboot",
        (
            Atom(AtomKind.HOOK, "vm-pre-shutdown", reason),
            *_teardown(md, reason, keep_active=False),
        ),
    )
    pause = (Atom(AtomKind.DELAY, option=str(delay_s)),) if delay_s > 0 else ()
    hook = Atom(AtomKind.HOOK, "vm-pre-reboot", "none")
    begin = Serial("VM.start", (*pause, hook, start(md), Atom(AtomKind.UNPAUSE)))
    return Serial("VM.shutdown", ask), end, begin


def suspend(md: VmMetadata) -> tuple[Serial, Serial]:
    """Plan from a domain to an image: (saving, after which it is kept; the end)."""
    save = Serial(
        "VM.save", (Atom(AtomKind.HOOK, "vm-pre-suspend", "suspend"), Atom(AtomKind.SAVE))
    )
    return save, Serial("VM.suspend", _teardown(md, "suspend", keep_active=True))


def discard(md: VmMetadata) -> Serial:
    """Plan the end of a domain whose making failed or was cut short."""
    return Serial("VM.discard", _teardown(md, "hard-shutdown", keep_active=False))


def plug_vbd(vbd: Vbd) -> Serial:
    """Plan a disk's way into a running domain."""
    return Serial(
        "VBD.plug",
        (
            Atom(AtomKind.VBD_SET_ACTIVE, vbd.device, "true"),
            Atom(AtomKind.VBD_EPOCH_BEGIN, vbd.device),
            Atom(AtomKind.VBD_PLUG, vbd.device),
        ),
    )


def unplug_vbd(device: str, *, force: bool) -> Serial:
    """Plan a disk's way out of a running domain."""
    return Serial(
        "VBD.unplug",
        (
            Atom(AtomKind.VBD_UNPLUG, device, "hard" if force else "clean"),
            Atom(AtomKind.VBD_EPOCH_END, device),
            Atom(AtomKind.VBD_SET_ACTIVE, device, "false"),
        ),
    )


def plug_vif(device: str) -> Serial:
    """Plan a network device's way into a running domain."""
    return Serial(
        "VIF.plug",
        (Atom(AtomKind.VIF_SET_ACTIVE, device, "true"), Atom(AtomKind.VIF_PLUG, device)),
    )


def unplug_vif(device: str, *, force: bool) -> Serial:
    """Plan a network device's way out of a running domain."""
    return Serial(
        "VIF.unplug",
        (
            Atom(AtomKind.VIF_UNPLUG, device, "hard" if force else "clean"),
            Atom(AtomKind.VIF_SET_ACTIVE, device, "false"),
        ),
    )


def has_drive_slot(md: VmMetadata, vbd: Vbd) -> bool:
    """Whether a VBD is a device of its own: PV guests have no empty drives."""
    return vbd.backend is not None or md.vm.is_hvm


def _devices(md: VmMetadata, *, fresh: bool) -> tuple[Step, ...]:
    def plug(vbd: Vbd) -> Serial:
        whole = plug_vbd(vbd)
        kept = (s for s in whole.steps if fresh or s != Atom(AtomKind.VBD_EPOCH_BEGIN, vbd.device))
        return Serial(whole.name, tuple(kept))

    present = [vbd for vbd in md.vbds if has_drive_slot(md, vbd)]
    writable = tuple(plug(vbd) for vbd in present if vbd.mode == "RW")
    read_only = tuple(plug(vbd) for vbd in present if vbd.mode == "RO")
    disks = Serial("VBDs", (Parallel("VBDs RW", writable), Parallel("VBDs RO", read_only)))
    networks = Parallel("VIFs", tuple(plug_vif(vif.device) for vif in md.vifs))
    gpus = Serial(
        "VGPUs", tuple(Atom(AtomKind.VGPU_SET_ACTIVE, gpu.device, "true") for gpu in md.vgpus)
    )
    if fresh:
        return (Parallel("devices", (disks, networks, gpus)),)
    return (disks, networks, gpus)


def _finish(md: VmMetadata) -> tuple[Step, ...]:
    return (
        Atom(AtomKind.CREATE_DEVICE_MODEL),
        *(Atom(AtomKind.PCI_PLUG, pci.device) for pci in md.pcis),
        *(Atom(AtomKind.VUSB_PLUG, usb.device) for usb in md.vusbs),
        Atom(AtomKind.CLEAR_ACTION_REQUEST),
    )


def _teardown(md: VmMetadata, reason: str, *, keep_active: bool) -> tuple[Step, ...]:
    unplugs: tuple[Step, ...] = (
        *(Atom(AtomKind.VBD_UNPLUG, vbd.device, "hard") for vbd in md.vbds),
        *(Atom(AtomKind.VIF_UNPLUG, vif.device, "hard") for vif in md.vifs),
        *(Atom(AtomKind.PCI_UNPLUG, pci.device, "hard") for pci in md.pcis),
    )
    after: tuple[Step, ...] = ()
    if not keep_active:
        after = (
            *(Atom(AtomKind.VBD_EPOCH_END, vbd.device) for vbd in md.vbds),
            *(Atom(AtomKind.VBD_SET_ACTIVE, vbd.device, "false") for vbd in md.vbds),
            *(Atom(AtomKind.VIF_SET_ACTIVE, vif.device, "false") for vif in md.vifs),
            *(Atom(AtomKind.VGPU_SET_ACTIVE, gpu.device, "false") for gpu in md.vgpus),
        )
    return (
        *(Atom(AtomKind.VUSB_UNPLUG, usb.device, "hard") for usb in md.vusbs),
        Atom(AtomKind.PAUSE, option="best effort"),
        Atom(AtomKind.DESTROY_DEVICE_MODEL),
        Parallel("devices", unplugs),
        Atom(AtomKind.DESTROY),
        *after,
        Atom(AtomKind.HOOK, "vm-post-destroy", reason),
    )
