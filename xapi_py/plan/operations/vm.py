"""VM operations: what is refused, in which order, and what is offered.

Order of checks (first failing one is reported): blocked operations, power
state, other operations in progress, template, snapshot, provision and revert,
mobility, control domain, guest features, disks that reset on boot, devices,
appliance and schedules, system domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import bad_power_state, in_progress, others
from xapi_py.plan.operations.vm_tables import (
    ALL_OPERATIONS,
    ALL_STATES,
    ALWAYS,
    CLONES,
    CONTROL_ALSO_RUNNING,
    CONTROL_OK,
    DOM0_REFUSED,
    FEATURES_FOR,
    HARD,
    LACKS_FEATURE,
    MOVES,
    NEEDS_PERSISTENT_DISKS,
    OP_TEXT,
    OWN_TEMPLATE_OK,
    POWER,
    SNAPSHOT_OK,
    SUSPEND_LIKE,
    TEMPLATE_OK,
    UNLISTED,
    UPGRADE_OK,
)

_TRUE = frozenset({"true", "1"})


def booleanish(value: str | None) -> bool:
    """Read ``true``/``1`` in any letter case as true, everything else as false."""
    return value is not None and value.lower() in _TRUE


def booted_type(view: View, row: Row) -> str:
    """Give the VM's domain type: as it booted while live, else as configured."""
    if row.power_state != "Halted":
        metrics = view.find("VM_metrics", row.metrics)
        if metrics is not None and metrics.current_domain_type not in ("", "unspecified"):
            return str(metrics.current_domain_type)
    if row.domain_type not in ("", "unspecified"):
        return str(row.domain_type)
    return "hvm" if row.HVM_boot_policy != "" else "pv"


def is_hvm(view: View, row: Row) -> bool:
    """Tell whether the VM is HVM: as it booted while live, else as configured."""
    return booted_type(view, row) == "hvm"


def features_key(view: View, row: Row) -> str:
    """Give the member of ``cpu_info`` with the CPU features such a VM sees.

    Only a classic paravirtual guest runs without the processor's virtualisation.
    """
    return "features_pv" if booted_type(view, row) == "pv" else "features_hvm"


def expected_power_states(row: Row, op: str, clone_suspended: bool = False) -> tuple[str, ...]:
    """Give the states in which ``op`` makes sense, in the order errors print them."""
    states = POWER.get(op, ALL_STATES)
    if op in CLONES and (row.is_a_snapshot or clone_suspended):
        return ("Halted", "Suspended")
    if op in CONTROL_ALSO_RUNNING and row.is_control_domain:
        return ("Halted", "Running")
    return states


class Facts:
    """What the checks of one VM need, read once; cost is that of its own devices."""

    __slots__ = ("view", "row", "current", "strict", "_reset", "_pci", "_immobile", "_features")

    def __init__(self, view: View, row: Row, task: str | None, strict: bool) -> None:
        self.view = view
        self.row = row
        self.strict = strict
        self.current: Mapping[str, str] = others(row.current_operations, task)
        self._reset: tuple[bool, bool] | None = None
        self._pci: bool | None = None
        self._immobile: bool | None = None
        self._features: tuple[Mapping[str, str] | None] | None = None

    def immobile(self) -> bool:
        """Nested virtualisation or nomigrate: as booted when live, else by platform."""
        if self._immobile is None:
            row = self.row
            metrics = None
            if row.power_state in ("Running", "Paused"):
                metrics = self.view.find("VM_metrics", row.metrics)
            if metrics is not None:
                self._immobile = bool(metrics.nomigrate or metrics.nested_virt)
            else:
                platform = row.platform
                self._immobile = booleanish(platform.get("nomigrate")) or self.nested()
        return self._immobile

    def nested(self) -> bool:
        """Tell whether nested virtualisation is on, under either platform name."""
        platform = self.row.platform
        return booleanish(platform.get("nested-virt")) or booleanish(platform.get("exp-nested-hvm"))

    def disks_reset(self) -> tuple[bool, bool]:
        """Tell whether a disk resets on boot, and whether one does so with caching."""
        if self._reset is None:
            reset = cached = False
            find = self.view.find
            for ref in self.row.VBDs:
                vbd = find("VBD", ref)
                vdi = find("VDI", vbd.VDI) if vbd is not None and vbd.VDI != NULL_REF else None
                if vdi is not None and vdi.on_boot == "reset":
                    reset = True
                    cached = cached or bool(vdi.allow_caching)
            self._reset = (reset, cached)
        return self._reset

    def guest_features(self) -> Mapping[str, str] | None:
        """Give the guest's advertised features, or None when none are required."""
        if self._features is None:
            self._features = (self._read_features(),)
        return self._features[0]

    def _read_features(self) -> Mapping[str, str] | None:
        row = self.row
        if row.power_state != "Running" or not is_hvm(self.view, row):
            return None
        guest = self.view.find("VM_guest_metrics", row.guest_metrics)
        if guest is None:
            return {}
        if has_pv_drivers(guest.PV_drivers_version):
            return None
        other: Mapping[str, str] = guest.other
        return other

    def has_pci(self) -> bool:
        """Tell whether a passed-through PCI device (not an SR-IOV function) is attached."""
        if self._pci is None:
            find = self.view.find
            found = False
            for ref in self.row.attached_PCIs:
                pci = find("PCI", ref)
                if pci is not None and pci.physical_function in ("", NULL_REF):
                    found = True
            self._pci = found
        return self._pci


def has_pv_drivers(version: Mapping[str, str]) -> bool:
    """Tell whether the reported driver version has a numeric major and minor."""
    try:
        int(version["major"])
        int(version["minor"])
    except (KeyError, ValueError):
        return False
    return True


def _concurrent_ok(op: str, current: Mapping[str, str]) -> bool:
    """Tell whether ``op`` may run beside the operations already in progress."""
    running = set(current.values())
    if op in ALWAYS:
        return True
    if op == "hard_shutdown":
        return "hard_shutdown" not in running
    if op == "hard_reboot":
        return running.isdisjoint(HARD)
    if op in ("clone", "copy", "export"):
        return running <= {"clone", "copy", "export"}
    if op in ("snapshot", "checkpoint"):
        return running <= {"snapshot", "checkpoint"} or (
            op == "snapshot" and running == {"snapshot_with_quiesce"}
        )
    if op == "get_boot_record":
        return running <= {"get_boot_record"}
    if running == {"migrate_send"}:
        return op in ("metadata_export", "clean_shutdown", "clean_reboot")
    return False


def _kind_error(row: Row, op: str) -> ApiError | None:
    """Refuse what templates, snapshots and control domains do not do."""
    ref = row.ref
    text = OP_TEXT.get(op, op)
    if row.is_a_snapshot:
        if op not in SNAPSHOT_OK and op not in ALWAYS:
            return err.VM_IS_SNAPSHOT(ref, text)
    elif row.is_a_template:
        allowed_ops = TEMPLATE_OK if is_default_template(row) else OWN_TEMPLATE_OK
        if op not in allowed_ops and op not in ALWAYS:
            # The declared arity is one; servers add the operation, and clients read it.
            return ApiError(err.VM_IS_TEMPLATE.code, ref, text)
    if op == "provision" and not row.is_a_template:
        return err.PROVISION_ONLY_ALLOWED_ON_TEMPLATE()
    if op == "revert" and not row.is_a_snapshot:
        return err.REVERT_ONLY_ALLOWED_ON_SNAPSHOT()
    return None


def is_default_template(row: Row) -> bool:
    """Tell whether the VM is a built-in template (new field or 7.1 key)."""
    return bool(row.is_default_template or "default_template" in row.other_config)


def _mobility_error(facts: Facts, op: str) -> ApiError | None:
    if op in MOVES:
        if facts.strict and facts.immobile():
            return err.VM_IS_IMMOBILE(facts.row.ref)
    elif op == "changing_dynamic_range" and facts.nested():
        return err.VM_IS_USING_NESTED_VIRT(facts.row.ref)
    return None


def _control_domain_error(row: Row, op: str) -> ApiError | None:
    if op not in CONTROL_OK and op not in ALWAYS:
        return err.OPERATION_NOT_ALLOWED(
            f"Operations on domain 0 are not allowed: {OP_TEXT.get(op, op)}"
        )
    if op in DOM0_REFUSED and row.domid == 0:
        return err.OPERATION_NOT_ALLOWED(
            f"Operations on domain 0 are not allowed: {OP_TEXT.get(op, op)}"
        )
    return None


def _feature_error(facts: Facts, op: str) -> ApiError | None:
    """Refuse what a live HVM guest without drivers or agent cannot take part in."""
    wanted = FEATURES_FOR.get(op)
    if wanted is None or not (facts.strict or op == "changing_VCPUs_live"):
        return None
    features = facts.guest_features()
    if features is None:
        return None
    if op in SUSPEND_LIKE:
        reason = features.get("data-cant-suspend-reason")
        if reason is not None:
            return err.VM_NON_SUSPENDABLE(facts.row.ref, reason)
    if any(features.get(name, "") not in ("", "0") for name in wanted):
        return None
    return LACKS_FEATURE[op](facts.row.ref)


def _disk_error(facts: Facts, op: str) -> ApiError | None:
    if op in NEEDS_PERSISTENT_DISKS:
        if facts.disks_reset()[0]:
            return err.VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION()
    elif op == "pool_migrate" and facts.disks_reset()[1]:
        return err.VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION()
    return None


def _device_error(facts: Facts, op: str) -> ApiError | None:
    """Refuse to move a VM that holds devices which cannot follow it."""
    row = facts.row
    if op not in MOVES:
        return None
    if row.attached_PCIs and facts.has_pci():
        return err.VM_HAS_PCI_ATTACHED(row.ref)
    if row.VGPUs and not (op == "migrate_send" and row.power_state == "Halted"):
        find = facts.view.find
        for ref in row.VGPUs:
            vgpu = find("VGPU", ref)
            kind = find("VGPU_type", vgpu.type) if vgpu is not None else None
            if kind is None or kind.implementation not in ("nvidia", "nvidia_sriov"):
                return err.VM_HAS_VGPU(row.ref)
    if row.VUSBs:
        return err.VM_HAS_VUSBS(row.ref)
    return None


def _membership_error(row: Row, op: str) -> ApiError | None:
    if op == "make_into_template":
        if row.appliance not in ("", NULL_REF):
            return err.VM_IS_PART_OF_AN_APPLIANCE(row.ref, row.appliance)
        if row.protection_policy not in ("", NULL_REF):
            return err.VM_ASSIGNED_TO_PROTECTION_POLICY(row.ref, row.protection_policy)
        if row.snapshot_schedule not in ("", NULL_REF):
            return err.VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE(row.ref, row.snapshot_schedule)
    elif op == "query_services" and not (
        row.is_control_domain or booleanish(row.other_config.get("is_system_domain"))
    ):
        return err.NOT_SYSTEM_DOMAIN(row.ref)
    return None


def _still_error(row: Row, op: str) -> ApiError | None:
    """Check what depends on the kind of VM only."""
    found = _kind_error(row, op)
    if found is None and row.is_control_domain:
        found = _control_domain_error(row, op)
    return found


def _situation_error(facts: Facts, op: str) -> ApiError | None:
    """Check what depends on the VM's devices, guest and memberships, in order."""
    row = facts.row
    found = _feature_error(facts, op)
    if found is None and op == "snapshot_with_quiesce":
        found = err.VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED(row.ref, "no provider")
    return found or _disk_error(facts, op) or _device_error(facts, op) or _membership_error(row, op)


def error_for(
    view: View,
    row: Row,
    op: str,
    *,
    task: str | None = None,
    strict: bool = True,
    clone_suspended: bool = False,
    rolling_upgrade: bool = False,
) -> ApiError | None:
    """Give the first reason against ``op`` on this VM, or None.

    ``task`` is the caller's own task, whose mark in current_operations does
    not count.  ``strict=False`` skips the mobility and guest feature checks
    (forced calls).  ``clone_suspended`` is the pool option that lets suspended
    VMs be cloned; ``rolling_upgrade`` that an upgrade of the pool is under way.
    """
    blocked = row.blocked_operations
    if op in blocked:
        return err.OPERATION_BLOCKED(row.ref, blocked[op])
    states = expected_power_states(row, op, clone_suspended)
    if row.power_state not in states:
        return bad_power_state(row.ref, states, row.power_state)
    facts = Facts(view, row, task, strict)
    if facts.current and not _concurrent_ok(op, facts.current):
        return in_progress("VM", row.ref, facts.current, OP_TEXT)
    found = _kind_error(row, op) or _mobility_error(facts, op)
    if found is None and row.is_control_domain:
        found = _control_domain_error(row, op)
    if found is None:
        found = _situation_error(facts, op)
    if found is None and rolling_upgrade and op not in UPGRADE_OK:
        return err.NOT_SUPPORTED_DURING_UPGRADE()
    return found


# Only these are decided by more than power state, kind and concurrency.
_SITUATIONAL = (
    MOVES | NEEDS_PERSISTENT_DISKS | frozenset(FEATURES_FOR) | {"changing_dynamic_range"}
    | {"make_into_template"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kind:
    """As much of a VM as the checks by kind read."""

    power_state: str
    is_a_snapshot: bool
    is_a_template: bool
    is_default_template: bool
    is_control_domain: bool
    domid: int
    ref: str = NULL_REF
    other_config: Mapping[str, str] = field(default_factory=dict)


@cache
def _candidates(
    state: str, snapshot: bool, template: bool, default: bool, control: bool, dom0: bool
) -> tuple[tuple[str, bool], ...]:
    """List (operation, situational) of what power state and kind let through."""
    kind: Any = _Kind(state, snapshot, template, default, control, 0 if dom0 else -1)
    return tuple(
        (op, op in _SITUATIONAL)
        for op in reversed(ALL_OPERATIONS)
        if op not in UNLISTED
        and state in expected_power_states(kind, op)
        and _still_error(kind, op) is None
    )


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List the offered operations, reverse enum order; cost is that of the VM's devices."""
    control = row.is_control_domain
    candidates = _candidates(
        row.power_state,
        row.is_a_snapshot,
        row.is_a_template,
        row.is_a_template and is_default_template(row),
        control,
        control and row.domid == 0,
    )
    facts = Facts(view, row, None, True)
    blocked = row.blocked_operations
    current = facts.current
    return tuple(
        [
            op
            for op, situational in candidates
            if op not in blocked
            and (not current or _concurrent_ok(op, current))
            and not (
                situational
                and (
                    _mobility_error(facts, op) is not None
                    or _situation_error(facts, op) is not None
                )
            )
        ]
    )


DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *(
        ("VM", field, ())
        for field in (
            "power_state", "current_operations", "blocked_operations", "is_a_template",
            "is_default_template", "is_a_snapshot", "is_control_domain", "domid", "platform",
            "other_config", "domain_type", "HVM_boot_policy", "metrics", "guest_metrics",
            "appliance", "protection_policy", "snapshot_schedule",
        )
    ),
    ("VBD", "VM", ("VM",)),
    ("VBD", "VDI", ("VM",)),
    ("VDI", "on_boot", ("VBDs", "VM")),
    ("VDI", "allow_caching", ("VBDs", "VM")),
    ("VGPU", "VM", ("VM",)),
    ("VGPU", "type", ("VM",)),
    ("VUSB", "VM", ("VM",)),
    ("PCI", "attached_VMs", ("attached_VMs",)),
)  # fmt: skip
