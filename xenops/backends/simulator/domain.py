"""Simulated domains and the file in which they outlive the daemon."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from xenops.backends.contract import ShutdownReason
from xenops.journal import Journal
from xenops.metadata import Disk

LAST = "last-domid"


@dataclass(slots=True)
class PluggedDisk:
    """A block device of a domain; no medium when the three texts are empty."""

    ty: str
    mode: str
    sr: str = ""
    vdi: str = ""
    path: str = ""

    @property
    def disk(self) -> Disk | None:
        """The medium."""
        present = self.path or self.vdi
        return Disk(self.sr, self.vdi, self.path) if present else None


@dataclass(slots=True)
class PluggedNetwork:
    """A network device of a domain."""

    mac: str
    bridge: str
    carrier: bool
    locking_mode: str


@dataclass(slots=True)
class Domain:
    """One domain.  Memory in bytes, times in seconds of the clock.

    ``booted_at`` is when the guest began to run, 0 before; ``agent`` whether
    its agent has reported; ``memory_token`` stands for the guest's memory: it
    is new at each boot and survives suspend and resume.
    """

    domid: int
    vm: str
    name: str
    hvm: bool
    created_at: float
    memory_static_max: int
    memory_dynamic_min: int
    memory_dynamic_max: int
    overhead: int
    memory: int
    vcpu_max: int
    vcpus: int
    shadow_multiplier: float = 1.0
    rtc_timeoffset: str = "0"
    paused: bool = True
    built: bool = False
    survivable: bool = False
    shutdown: ShutdownReason | None = None
    booted_at: float = 0.0
    agent: bool = False
    device_model: bool = False
    s3: bool = False
    memory_token: str = ""
    xsdata: dict[str, str] = field(default_factory=dict)
    vbds: dict[str, PluggedDisk] = field(default_factory=dict)
    vifs: dict[str, PluggedNetwork] = field(default_factory=dict)
    pcis: dict[str, str] = field(default_factory=dict)

    @property
    def footprint(self) -> int:
        """What the domain takes of the host."""
        return self.memory + self.overhead


class DomainStore:
    """Keep domains in a journal, each replaced whole at each change."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self.highest_noted = 0
        """A domain id that was in use and is not to be used again."""

    def load(self) -> Iterator[Domain]:
        """Give all domains, oldest first."""
        values = dict(self._journal.items())
        noted = values.pop(LAST, None)
        self.highest_noted = orjson.loads(noted)["domid"] if noted else 0
        for domid in sorted(values, key=int):
            yield _decode(values[domid])

    def save(self, domain: Domain) -> None:
        """Write a domain."""
        self._journal.put(str(domain.domid), orjson.dumps(domain))

    def remove(self, domid: int) -> None:
        """Remove a domain; its id stays taken."""
        if domid > self.highest_noted:
            self.highest_noted = domid
            self._journal.put(LAST, orjson.dumps({"domid": domid}))
        self._journal.remove(str(domid))


def _decode(content: bytes) -> Domain:
    data = orjson.loads(content)
    data["vbds"] = {k: PluggedDisk(**v) for k, v in data["vbds"].items()}
    data["vifs"] = {k: PluggedNetwork(**v) for k, v in data["vifs"].items()}
    if data["shutdown"] is not None:
        data["shutdown"] = ShutdownReason(data["shutdown"])
    return Domain(**data)
