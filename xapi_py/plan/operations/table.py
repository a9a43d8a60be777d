"""The operation rules of every class that has ``allowed_operations``.

``OPERATIONS[cls].depends`` lists ``(class, field, path)``: a change of that
field makes ``allowed_operations`` stale on the rows found by following
``path`` from the changed row (``()`` is the row itself).  ``touched_by`` lists
changes no path reaches: ``(class, field)`` of rows that are referenced one way
only; whoever writes them touches the owning row.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from xapi_py.base.errors import ApiError
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations import (
    devices_and_clusters,
    host,
    network,
    pool,
    sr,
    task,
    vbd,
    vdi,
    vif,
    vm,
    vm_appliance,
)


class ErrorFor(Protocol):
    """The first failing check of an operation on a row, or None."""

    def __call__(
        self, view: View, row: Row, op: str, *, task: str | None = None
    ) -> ApiError | None: ...


class Allowed(Protocol):
    """The operations a row offers."""

    def __call__(self, view: View, row: Row) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class OperationRules:
    """How one class decides about its operations."""

    error_for: ErrorFor
    allowed: Allowed
    depends: tuple[tuple[str, str, tuple[str, ...]], ...]
    touched_by: tuple[tuple[str, str], ...] = ()


_VM_INDIRECT = (
    ("VM_metrics", "nomigrate"),
    ("VM_metrics", "nested_virt"),
    ("VM_metrics", "current_domain_type"),
    ("VM_guest_metrics", "other"),
    ("VM_guest_metrics", "PV_drivers_version"),
)
_HOTPLUG = (("VM_guest_metrics", "PV_drivers_detected"), ("VM_metrics", "current_domain_type"))

OPERATIONS: dict[str, OperationRules] = {
    "VM": OperationRules(vm.error_for, vm.allowed, vm.DEPENDS, _VM_INDIRECT),
    "VBD": OperationRules(
        vbd.error_for,
        vbd.allowed,
        vbd.DEPENDS,
        (*_HOTPLUG, ("VM_guest_metrics", "can_use_hotplug_vbd")),
    ),
    "VIF": OperationRules(
        vif.error_for,
        vif.allowed,
        vif.DEPENDS,
        (*_HOTPLUG, ("VM_guest_metrics", "can_use_hotplug_vif")),
    ),
    "VDI": OperationRules(vdi.error_for, vdi.allowed, vdi.DEPENDS, (("SM", "features"),)),
    "SR": OperationRules(sr.error_for, sr.allowed, sr.DEPENDS, (("SM", "features"),)),
    "host": OperationRules(host.error_for, host.allowed, host.DEPENDS, (("host_metrics", "live"),)),
    "pool": OperationRules(pool.error_for, pool.allowed, pool.DEPENDS),
    "network": OperationRules(network.error_for, network.allowed, network.DEPENDS),
    "task": OperationRules(task.error_for, task.allowed, task.DEPENDS),
    "VM_appliance": OperationRules(
        vm_appliance.error_for, vm_appliance.allowed, vm_appliance.DEPENDS
    ),
    "VTPM": OperationRules(
        devices_and_clusters.vtpm_error,
        devices_and_clusters.vtpm_allowed,
        devices_and_clusters.VTPM_DEPENDS,
    ),
    "VUSB": OperationRules(
        devices_and_clusters.vusb_error,
        devices_and_clusters.vusb_allowed,
        devices_and_clusters.VUSB_DEPENDS,
    ),
    "Cluster": OperationRules(
        devices_and_clusters.cluster_error,
        devices_and_clusters.cluster_allowed,
        devices_and_clusters.CLUSTER_DEPENDS,
    ),
    "Cluster_host": OperationRules(
        devices_and_clusters.cluster_host_error,
        devices_and_clusters.cluster_host_allowed,
        devices_and_clusters.CLUSTER_HOST_DEPENDS,
    ),
}


def limited_to(rules: OperationRules, known: Collection[str]) -> OperationRules:
    """Make rules that offer only operations a profile's enum knows."""
    names = frozenset(known)
    every = rules.allowed

    def offered(view: View, row: Row) -> tuple[str, ...]:
        return tuple(op for op in every(view, row) if op in names)

    return replace(rules, allowed=offered)


ENUM_OF_CLASS: Mapping[str, str] = {
    "VM": "vm_operations",
    "VBD": "vbd_operations",
    "VIF": "vif_operations",
    "VDI": "vdi_operations",
    "SR": "storage_operations",
    "host": "host_allowed_operations",
    "pool": "pool_allowed_operations",
    "network": "network_operations",
    "task": "task_allowed_operations",
    "VM_appliance": "vm_appliance_operation",
    "VTPM": "vtpm_operations",
    "VUSB": "vusb_operations",
    "Cluster": "cluster_operation",
    "Cluster_host": "cluster_host_operation",
}


def for_profile(enums: Mapping[str, Collection[str]]) -> dict[str, OperationRules]:
    """Give OPERATIONS limited to a profile: classes and values its enums have."""
    return {
        cls: limited_to(rules, enums[ENUM_OF_CLASS[cls]])
        for cls, rules in OPERATIONS.items()
        if ENUM_OF_CLASS[cls] in enums
    }
