"""Errors of the domain daemon as API errors: the one place that translates them.

A client never sees a daemon's own error.  Source: brief XENOPS section 22.
"""

from collections.abc import Callable
from dataclasses import dataclass

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.rpc.errors import RpcError, RpcTimeout, RpcUnreachable
from xapi_py.datamodel import errors as err


@dataclass(frozen=True, slots=True)
class About:
    """What a daemon's call was about: the objects that error parameters name."""

    vm: Ref
    host: Ref = NULL_REF
    task: Ref = NULL_REF
    device: Ref = NULL_REF


def _seconds(value: object) -> str:
    return f"{float(str(value)):g}"


def _bad_power_state(error: RpcError, about: About) -> ApiError:
    found, expected = str(error.params[0]), str(error.params[1])
    return err.VM_BAD_POWER_STATE(about.vm, expected.lower(), found.lower())


def _not_enough_memory(error: RpcError, about: About) -> ApiError:
    needed, free = error.params
    return err.HOST_NOT_ENOUGH_FREE_MEMORY(str(needed), str(free))


def _detach_rejected(error: RpcError, about: About) -> ApiError:
    kind, _, text = error.params
    return err.DEVICE_DETACH_REJECTED(str(kind), about.device, str(text))


def _storage(error: RpcError, about: About) -> ApiError:
    return ApiError(*(str(p) for p in error.params))


def _hook(error: RpcError, about: About) -> ApiError:
    script, reason, output, code = error.params
    return err.XAPI_HOOK_FAILED(str(script), str(reason), str(output), str(code))


_TRANSLATIONS: dict[str, Callable[[RpcError, About], ApiError]] = {
    "Bad_power_state": _bad_power_state,
    "Cannot_free_this_much_memory": _not_enough_memory,
    "Device_detach_rejected": _detach_rejected,
    "Device_is_connected": lambda _, about: err.DEVICE_ALREADY_ATTACHED(about.device),
    "Device_not_connected": lambda _, about: err.DEVICE_ALREADY_DETACHED(about.device),
    "Media_present": lambda _, about: err.VBD_NOT_EMPTY(about.device),
    "Media_not_present": lambda _, about: err.VBD_IS_EMPTY(about.device),
    "Storage_backend_error": _storage,
    "Hook_failed": _hook,
    "Failed_to_acknowledge_shutdown_request": (
        lambda _, about: err.VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT(about.vm)
    ),
    "Failed_to_acknowledge_suspend_request": (
        lambda _, about: err.VM_FAILED_SUSPEND_ACKNOWLEDGMENT(about.vm)
    ),
    "Failed_to_shutdown": (
        lambda e, about: err.VM_SHUTDOWN_TIMEOUT(about.vm, _seconds(e.params[1]))
    ),
    "Failed_to_suspend": lambda e, about: err.VM_SUSPEND_TIMEOUT(about.vm, _seconds(e.params[1])),
    "Bootloader_error": lambda e, about: err.BOOTLOADER_FAILED(about.vm, str(e.params[-1])),
    "Vms_failed_to_cooperate": lambda e, about: ApiError(
        "VMS_FAILED_TO_COOPERATE", *(str(p) for p in e.params)
    ),
    "Bridge_does_not_exist": lambda e, _: err.BRIDGE_NOT_AVAILABLE(str(e.params[0])),
    "IO_error": lambda e, about: err.VDI_IO_ERROR("I/O error saving VM suspend image"),
    "Failed_to_start_emulator": lambda e, about: err.FAILED_TO_START_EMULATOR(
        about.vm, str(e.params[-2]), str(e.params[-1])
    ),
    "Ballooning_timeout_before_migration": (
        lambda _, about: err.BALLOONING_TIMEOUT_BEFORE_MIGRATION(about.vm)
    ),
    "Cancelled": lambda _, about: err.TASK_CANCELLED(about.task),
    "Unimplemented": lambda e, _: err.NOT_IMPLEMENTED(str(e.params[0])),
}


def api_error(error: Exception, about: About) -> ApiError:
    """Give the API error of a failed call to the domain daemon."""
    if isinstance(error, RpcUnreachable):
        return err.CANNOT_CONTACT_HOST(about.host)
    if isinstance(error, RpcTimeout):
        return err.INTERNAL_ERROR("xenopsd internal error: no answer in time")
    if not isinstance(error, RpcError):
        return err.INTERNAL_ERROR(f"xenopsd internal error: {type(error).__name__}")
    translate = _TRANSLATIONS.get(error.name)
    if translate is None:
        text = ", ".join(str(p) for p in error.params)
        return err.INTERNAL_ERROR(f"xenopsd internal error: {error.name} [{text}]")
    return translate(error, about)
