"""Bodies of the messages that lifecycle operations leave behind."""

from xapi_py.db.row import Row


def _vm(vm: Row) -> str:
    return f"VM '{vm.name_label}' (uuid: {vm.uuid})"


def _host(host: Row) -> str:
    return f"{host.name_label} (uuid: {host.uuid})"


def started(vm: Row, host: Row) -> str:
    """Body of VM_STARTED."""
    return f"{_vm(vm)} started on host: {_host(host)}"


def resumed(vm: Row, host: Row) -> str:
    """Body of VM_RESUMED."""
    return f"{_vm(vm)} resumed on host: {_host(host)}"


def shut_down(vm: Row, forced: bool) -> str:
    """Body of VM_SHUTDOWN."""
    return f"{_vm(vm)} shutdown forcibly" if forced else f"{_vm(vm)} shutdown"


def rebooted(vm: Row, forced: bool) -> str:
    """Body of VM_REBOOTED."""
    return f"{_vm(vm)} rebooted {'forcibly' if forced else 'cleanly'}"


def suspended(vm: Row) -> str:
    """Body of VM_SUSPENDED."""
    return f"{_vm(vm)} suspended"


def paused(vm: Row) -> str:
    """Body of VM_PAUSED."""
    return f"{_vm(vm)} paused"


def unpaused(vm: Row) -> str:
    """Body of VM_UNPAUSED."""
    return f"{_vm(vm)} unpaused"


def snapshotted(vm: Row, snapshot_name: str) -> str:
    """Body of VM_SNAPSHOTTED."""
    return f"{_vm(vm)} snapshotted, snapshot name: {snapshot_name}"


def checkpointed(vm: Row, snapshot_name: str) -> str:
    """Body of VM_CHECKPOINTED."""
    return f"{_vm(vm)} checkpointed, snapshot name: {snapshot_name}"


def cloned(vm: Row, new_uuid: str) -> str:
    """Body of VM_CLONED."""
    return f"{_vm(vm)} cloned (new uuid: {new_uuid})"


def reverted(vm: Row, snapshot: Row) -> str:
    """Body of VM_SNAPSHOT_REVERTED."""
    return f"{_vm(vm)} reverted to snapshot: {snapshot.name_label} (uuid {snapshot.uuid})"


def migrated(vm: Row, source: Row, destination: Row) -> str:
    """Body of VM_MIGRATED."""
    return (
        f"{_vm(vm)} migrated from host '{source.name_label}' (uuid: {source.uuid})"
        f" to host '{destination.name_label}' (uuid: {destination.uuid})"
    )
