"""Tells the domain daemons about changed settings of live VMs.

A guest that reboots by itself gets a new domain from the metadata its host
has: what a client changed meanwhile is to apply then.
"""

import logging

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.plan import boot
from xapi_py.pool.domain_state import LIVE
from xapi_py.pool.gateway import Hosts

log = logging.getLogger(__name__)

VM_FIELDS = (
    "name_label", "memory_dynamic_min", "memory_dynamic_max", "VCPUs_at_startup", "VCPUs_params",
    "actions_after_softreboot", "actions_after_shutdown", "actions_after_reboot",
    "actions_after_crash", "PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args",
    "PV_bootloader_args", "PV_legacy_args", "HVM_boot_policy", "HVM_boot_params", "platform",
    "xenstore_data", "has_vendor_device", "other_config",
)  # fmt: skip
DEVICE_FIELDS = {
    "VBD": ("VDI", "empty", "mode", "type", "qos_algorithm_type", "qos_algorithm_params"),
    "VIF": (
        "network", "MAC", "locking_mode", "ipv4_allowed", "ipv6_allowed", "qos_algorithm_type",
        "qos_algorithm_params", "ipv4_addresses", "ipv6_addresses", "other_config",
    ),
}  # fmt: skip
_CLASSES = frozenset({"VM", *DEVICE_FIELDS})

Settings = tuple[object, ...]


class MetadataPush:
    """Watches the database; one per server.  Cost follows the number of changes."""

    def __init__(self, db: Database, hosts: Hosts) -> None:
        self._db = db
        self._hosts = hosts
        self._generation = db.generation
        self._pushed: dict[Ref, Settings] = {}
        self._stop = db.subscribe(self._changed)

    def stop(self) -> None:
        """Stop watching."""
        self._stop()

    def _changed(self, classes: frozenset[str], generation: int) -> None:
        since, self._generation = self._generation, generation
        for cls in sorted(classes & _CLASSES):
            changes = self._db.changes(cls, since)
            for row in (*changes.added, *changes.modified):
                vm = row if cls == "VM" else self._db.find("VM", row.VM)
                if vm is not None:
                    self._look(vm)
            if cls == "VM":
                for deletion in changes.deleted:
                    self._pushed.pop(deletion[0], None)

    def _look(self, vm: Row) -> None:
        """Push when settings of a live VM differ from those seen last."""
        if vm.power_state not in LIVE or vm.is_control_domain:
            self._pushed.pop(vm.ref, None)
            return
        settings = self._settings(vm)
        before = self._pushed.get(vm.ref)
        if before is not None and vm.current_operations:
            return  # its end is a change of the VM as well
        self._pushed[vm.ref] = settings
        if before is None or before == settings:
            return
        pushing = Deferred.fromCoroutine(self._push(vm))
        pushing.addErrback(_failed, vm.uuid)

    def _settings(self, vm: Row) -> Settings:
        found: list[object] = [getattr(vm, name) for name in VM_FIELDS]
        for cls, refs in (("VBD", vm.VBDs), ("VIF", vm.VIFs)):
            for ref in refs:
                device = self._db.find(cls, ref)
                if device is not None:
                    found.append(ref)
                    found.extend(getattr(device, name) for name in DEVICE_FIELDS[cls])
        return tuple(found)

    async def _push(self, vm: Row) -> None:
        daemon = self._hosts.get(Ref(vm.resident_on)).xenops
        md = boot.vm_metadata(self._db, vm.ref, vm.resident_on)
        await daemon.call("VM.import_metadata", {"md": md}, dbg="settings")


def _failed(failure: Failure, uuid: str) -> None:
    failure.trap(ApiError, RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)
    log.info("changed settings of %s wait for its next start: %s", uuid, failure.value)
