"""Memory limits of VMs, at rest and live.  All sizes in bytes."""

from dataclasses import replace

from ocaml_compat.floats import string_of_float
from xapi_py.api.call import Call
from xapi_py.api.derived import pages_per_vcpu
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm.domain import home, xenops
from xapi_py.base.names import Ref
from xapi_py.base.waiting import sleep
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import memory
from xapi_py.plan.memory import Limits

TARGET_TOLERANCE_BYTES = 1 << 20
TARGET_TIMEOUT_S = 256
TARGET_POLL_S = 1.0


def _pin_reason(row: Row) -> str | None:
    if row.is_control_domain:
        return "control domain"
    return None


def _store(call: Call, vm: Ref, limits: Limits, **more: object) -> None:
    problem = memory.limits_error(limits, _pin_reason(call.db.row("VM", vm)))
    if problem is not None:
        raise problem
    with call.db.transaction() as tx:
        tx.update(
            "VM",
            vm,
            memory_static_min=limits.static_min,
            memory_static_max=limits.static_max,
            memory_dynamic_min=limits.dynamic_min,
            memory_dynamic_max=limits.dynamic_max,
            **more,
        )


@message("VM.set_memory_limits")
def set_memory_limits(
    call: Call, self: Ref, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    """Set all four limits of a halted VM.

    Errors: MEMORY_CONSTRAINT_VIOLATION_ORDER, ..._MAXPIN, INVALID_VALUE.
    """
    check(call, ("VM", self, "changing_memory_limits"))
    _store(call, self, Limits(static_min, dynamic_min, dynamic_max, static_max))


@message("VM.set_memory")
def set_memory(call: Call, self: Ref, value: int) -> None:
    """Give a halted VM a fixed size; the static minimum stays."""
    check(call, ("VM", self, "changing_memory_limits"))
    static_min = call.db.row("VM", self).memory_static_min
    _store(call, self, Limits(static_min, value, value, value))


@message("VM.set_memory_static_max")
def set_memory_static_max(call: Call, self: Ref, value: int) -> None:
    """Set one limit of a halted VM."""
    check(call, ("VM", self, "changing_static_range"))
    _store(call, self, replace(memory.limits_of(call.db.row("VM", self)), static_max=value))


@message("VM.set_memory_static_min")
def set_memory_static_min(call: Call, self: Ref, value: int) -> None:
    """Set one limit of a halted VM."""
    check(call, ("VM", self, "changing_static_range"))
    _store(call, self, replace(memory.limits_of(call.db.row("VM", self)), static_min=value))


@message("VM.set_memory_static_range")
def set_memory_static_range(call: Call, self: Ref, min: int, max: int) -> None:
    """Set both static limits of a halted VM."""
    check(call, ("VM", self, "changing_static_range"))
    old = memory.limits_of(call.db.row("VM", self))
    _store(call, self, replace(old, static_min=min, static_max=max))


@message("VM.set_memory_dynamic_max")
async def set_memory_dynamic_max(call: Call, self: Ref, value: int) -> None:
    """Set one end of the ballooning range, also of a running VM."""
    await set_memory_dynamic_range(call, self, call.db.row("VM", self).memory_dynamic_min, value)


@message("VM.set_memory_dynamic_min")
async def set_memory_dynamic_min(call: Call, self: Ref, value: int) -> None:
    """Set one end of the ballooning range, also of a running VM."""
    await set_memory_dynamic_range(call, self, value, call.db.row("VM", self).memory_dynamic_max)


@message("VM.set_memory_dynamic_range")
async def set_memory_dynamic_range(call: Call, self: Ref, min: int, max: int) -> None:
    """Set the ballooning range; a running guest follows it.

    Errors: MEMORY_CONSTRAINT_VIOLATION_ORDER, ..._MAXPIN, INVALID_VALUE.
    """
    row = call.db.row("VM", self)
    async with operation(call, ("VM", self, "changing_dynamic_range")):
        limits = replace(memory.limits_of(row), dynamic_min=min, dynamic_max=max)
        problem = memory.limits_error(limits, _pin_reason(row))
        if problem is not None:
            raise problem
        if row.power_state == "Running" and not row.is_control_domain:
            params = {"id": row.uuid, "min_bytes": min, "max_bytes": max}
            await xenops(call, home(row), "VM.set_memory_dynamic_range", params, vm=self)
        _store(call, self, limits)


@message("VM.set_memory_target_live")
async def set_memory_target_live(call: Call, self: Ref, target: int) -> None:
    """Make a running guest have one size, within its dynamic range; the range stays."""
    row = call.db.row("VM", self)
    async with operation(call, ("VM", self, "changing_memory_live")):
        size = max(row.memory_dynamic_min, min(target, row.memory_dynamic_max))
        params = {"id": row.uuid, "min_bytes": size, "max_bytes": size}
        await xenops(call, home(row), "VM.set_memory_dynamic_range", params, vm=self)


@message("VM.wait_memory_target_live")
async def wait_memory_target_live(call: Call, self: Ref) -> None:
    """Wait until a running VM has the size it was told to have.

    Errors: VM_MEMORY_TARGET_WAIT_TIMEOUT after 256 s.
    """
    row = call.db.row("VM", self)
    clock = call.toolstack.clock
    async with operation(call, ("VM", self, "awaiting_memory_live")):
        call.allow_cancel()
        deadline = clock.seconds() + TARGET_TIMEOUT_S
        while not _on_target(call, row):
            if clock.seconds() >= deadline:
                raise err.VM_MEMORY_TARGET_WAIT_TIMEOUT(self)
            await sleep(clock, TARGET_POLL_S)


def _on_target(call: Call, row: Row) -> bool:
    metrics = call.db.find("VM_metrics", row.metrics)
    actual = metrics.memory_actual if metrics is not None else 0
    return bool(abs(actual - row.memory_target) <= TARGET_TOLERANCE_BYTES)


@message("VM.set_HVM_shadow_multiplier")
def set_hvm_shadow_multiplier(call: Call, self: Ref, value: float) -> None:
    """Set the factor on shadow memory of a halted VM.

    Errors: INVALID_VALUE below 1.  Infinity and not-a-number pass; such a VM
    fits on no host.
    """
    check(call, ("VM", self, "changing_shadow_memory"))
    if value < 1.0:
        raise err.INVALID_VALUE("multiplier", string_of_float(value))
    with call.db.transaction() as tx:
        tx.set("VM", self, "HVM_shadow_multiplier", value)


@message("VM.set_shadow_multiplier_live")
async def set_shadow_multiplier_live(call: Call, self: Ref, multiplier: float) -> None:
    """Set the factor on shadow memory of a domain; the next start has the record's."""
    row = call.db.row("VM", self)
    async with operation(call, ("VM", self, "changing_shadow_memory_live")):
        params = {"id": row.uuid, "multiplier": multiplier}
        await xenops(call, home(row), "VM.set_shadow_multiplier", params, vm=self)


@message("VM.compute_memory_overhead")
def compute_memory_overhead(call: Call, vm: Ref) -> int:
    """Give what the VM needs beside its own memory."""
    return memory.overhead_bytes(call.db.row("VM", vm), pages_per_vcpu(call.model.profile))


@message("VM.maximise_memory")
def maximise_memory(call: Call, self: Ref, total: int, approximate: bool) -> int:
    """Give the largest static_max that fits into ``total`` with its overhead."""
    return memory.maximum_static_max(call.db.row("VM", self), total, approximate)


@message("VM.get_cooperative")
def get_cooperative(call: Call, self: Ref) -> bool:
    """Tell whether the guest balloons as told; nobody is found out here yet."""
    call.db.row("VM", self)
    return True
