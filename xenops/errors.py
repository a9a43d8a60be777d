"""Errors this daemon names in its interface, as ``RpcError`` values to raise."""

from xapi_py.base.rpc.errors import RpcError


def bad_power_state(found: str, expected: str) -> RpcError:
    """The VM is not in a power state in which the operation makes sense."""
    return RpcError("Bad_power_state", found, expected)


def does_not_exist(kind: str, identifier: str) -> RpcError:
    """``kind`` is VM, VBD, VIF, PCI, task or domain."""
    return RpcError("Does_not_exist", kind, identifier)


def cannot_free_this_much_memory(needed_bytes: int, free_bytes: int) -> RpcError:
    """The host has too little memory, also after ballooning all its guests."""
    return RpcError("Cannot_free_this_much_memory", needed_bytes, free_bytes)


def failed_to_acknowledge_shutdown_request() -> RpcError:
    """The guest did not take notice of a shutdown or reboot request in time."""
    return RpcError("Failed_to_acknowledge_shutdown_request")


def failed_to_shutdown(vm: str, timeout_s: float) -> RpcError:
    """The guest acknowledged, but was not down in time."""
    return RpcError("Failed_to_shutdown", vm, timeout_s)


def failed_to_acknowledge_suspend_request() -> RpcError:
    """The guest did not take notice of a suspend request in time."""
    return RpcError("Failed_to_acknowledge_suspend_request")


def failed_to_suspend(vm: str, timeout_s: float) -> RpcError:
    """The guest acknowledged, but did not suspend in time."""
    return RpcError("Failed_to_suspend", vm, timeout_s)


def device_is_connected(kind: str, device: str) -> RpcError:
    """The device is plugged already."""
    return RpcError("Device_is_connected", kind, device)


def device_not_connected(kind: str, device: str) -> RpcError:
    """The device is not plugged."""
    return RpcError("Device_not_connected", kind, device)


def device_detach_rejected(kind: str, device: str, text: str) -> RpcError:
    """The guest refused to let a device go."""
    return RpcError("Device_detach_rejected", kind, device, text)


def hotplug_failed(kind: str, device: str, text: str) -> RpcError:
    """The control domain could not set its side of a device up."""
    return RpcError("Hotplug_failed", kind, device, text)


def failed_to_start_emulator(vm: str, name: str, text: str) -> RpcError:
    """The program that emulates hardware, ``name``, did not start."""
    return RpcError("Failed_to_start_emulator", vm, name, text)


def media_present(device: str) -> RpcError:
    """The drive has a medium already."""
    return RpcError("Media_present", device)


def media_not_present(device: str) -> RpcError:
    """The drive has no medium."""
    return RpcError("Media_not_present", device)


def hook_failed(script: str, reason: str, output: str, code: int) -> RpcError:
    """A hook script of the administrator forbade the operation."""
    return RpcError("Hook_failed", script, reason, output, code)


def io_error(text: str) -> RpcError:
    """The suspend image cannot be written or read."""
    return RpcError("IO_error", text)


def invalid_metadata(text: str) -> RpcError:
    """The metadata pushed for a VM does not fit; ``text`` names the member."""
    return RpcError("Invalid_metadata", text)


def migration_failed(vm: str, text: str) -> RpcError:
    """The guest could not be moved and goes on where it is."""
    return RpcError("Migration_failed", vm, text)


def migration_undecided(vm: str, text: str) -> RpcError:
    """The guest may run on the other host, which cannot be asked; it is stopped here."""
    return RpcError("Migration_undecided", vm, text)


def unimplemented(feature: str) -> RpcError:
    """The backend cannot do this."""
    return RpcError("Unimplemented", feature)


def domain_not_built(text: str) -> RpcError:
    """The guest cannot be loaded, as with a kernel that is none; ``text`` says why."""
    return RpcError("Domain_not_built", text)


def domain_not_destroyed(text: str) -> RpcError:
    """The hypervisor does not end a domain."""
    return RpcError("Domain_not_destroyed", text)


def bootloader_error(vm: str, text: str) -> RpcError:
    """The boot loader found nothing to boot on the guest's disk."""
    return RpcError("Bootloader_error", vm, text)


def timed_out(atom: str, timeout_s: float) -> RpcError:
    """One step of an operation took longer than any such step may."""
    return RpcError("Operation_timed_out", atom, timeout_s)
