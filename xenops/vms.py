"""The VMs this host was told about, in a journal."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from xapi_py.base.config import ConfigError, build
from xapi_py.base.rpc.errors import RpcError
from xenops import errors, metadata
from xenops.journal import Journal
from xenops.metadata import VmMetadata

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Extra:
    """What the daemon itself has to remember of a VM.

    Everything a suspended VM needs beyond its metadata is in here: it travels
    as the opaque ``domains`` text of the metadata.  ``image`` is the suspend
    image itself where the disk had no path.  ``rebooting`` says that a domain
    was ended in order to make a new one.  ``handed_over``: its domain stopped to
    go to another host, and may run there.  ``active_*``: devices that are to be
    plugged as long as the VM has a domain or is suspended.
    """

    last_start_time: float = 0.0
    suspend_memory_bytes: int = 0
    nomigrate: bool = False
    nested_virt: bool = False
    platformdata: dict[str, str] = field(default_factory=dict)
    image: dict[str, object] = field(default_factory=dict)
    rebooting: bool = False
    handed_over: bool = False
    last_shutdown: dict[str, object] = field(default_factory=dict)
    active_vbds: tuple[str, ...] = ()
    active_vifs: tuple[str, ...] = ()
    active_vgpus: tuple[str, ...] = ()

    def set_active(self, kind: str, device: str, active: bool) -> None:
        """Note that a device of a kind (VBD, VIF, VGPU) is to be plugged, or not."""
        member = f"active_{kind.lower()}s"
        others = tuple(d for d in getattr(self, member) if d != device)
        setattr(self, member, (*others, device) if active else others)


@dataclass(slots=True)
class Vm:
    """A VM known here.

    ``shown_state`` is the power state others see while an operation is at
    work: that of its beginning, so that nobody sees half of a change.
    """

    md: VmMetadata
    extra: Extra = field(default_factory=Extra)
    shown_state: str | None = None

    @property
    def id(self) -> str:
        """The uuid."""
        return self.md.vm.id


class VmTable:
    """VMs by uuid; ``save`` makes a VM outlive this process."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._vms: dict[str, Vm] = {}
        for name, value in self._journal.items():
            self._load(name, value)

    def __iter__(self) -> Iterator[Vm]:
        return iter(list(self._vms.values()))

    def __len__(self) -> int:
        return len(self._vms)

    def get(self, vm: str) -> Vm:
        """Errors: Does_not_exist."""
        found = self._vms.get(vm)
        if found is None:
            raise errors.does_not_exist("VM", vm)
        return found

    def find(self, vm: str) -> Vm | None:
        """Give a VM, if it is known."""
        return self._vms.get(vm)

    def put(self, md: VmMetadata) -> Vm:
        """Take over metadata; what the daemon remembers of a known VM stays.

        A ``domains`` text, as of a suspended VM, replaces it for an unknown one.
        """
        found = self._vms.get(md.vm.id)
        if found is None:
            found = self._vms[md.vm.id] = Vm(md)
            if md.domains:
                found.extra = read_extra(md.domains)
        else:
            found.md = md
        self.save(found)
        return found

    def save(self, vm: Vm) -> None:
        """Write what changed of a VM, if anything."""
        content = {"md": vm.md, "extra": vm.extra}
        self._journal.put(vm.id, orjson.dumps(content))

    def remove(self, vm: str) -> None:
        """Forget a VM; nothing to do for an unknown one."""
        if self._vms.pop(vm, None) is not None:
            self._journal.remove(vm)

    def _load(self, name: str, value: bytes) -> None:
        try:
            content = orjson.loads(value)
            md = metadata.parse(content["md"])
            extra = build(content["extra"], Extra, name)
        except (orjson.JSONDecodeError, KeyError, ConfigError, RpcError) as error:
            log.error("ignoring %s: %s", name, error)
            return
        self._vms[md.vm.id] = Vm(md, extra)


def write_extra(extra: Extra) -> str:
    """Give the opaque text for ``domains``."""
    return orjson.dumps(extra).decode()


def read_extra(text: str) -> Extra:
    """Read it back.  Errors: Invalid_metadata."""
    try:
        return build(orjson.loads(text), Extra, "domains")
    except (orjson.JSONDecodeError, ConfigError) as error:
        raise errors.invalid_metadata(f"domains: {error}") from error
