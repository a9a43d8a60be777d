"""One LVM volume group through LVM's own commands.  Blocking.

Commands see the SR's devices only, never the paths below a multipath device or
guests' volume groups inside disks.  Only the host in charge of an SR changes
its volume group; others just make volumes appear and disappear.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sm import errors
from sm.files.mounts import Outcome, System
from xapi_py.base.rpc.errors import RpcError

TIMEOUT_S: Final = 50.0
"""Below the deadline of a call, so that the caller learns what hangs."""

PREFIX: Final = "VG_XenStorage-"
EXTENT: Final = 4 * 1024**2
_METADATA_AREA: Final = "10m"


@dataclass(slots=True)
class Volume:
    """A logical volume: bytes, whether this host shows it as a device, whether that is open."""

    size: int
    active: bool
    open: bool = False


def round_up(size: int) -> int:
    """Give the size a volume has that is to hold ``size`` bytes."""
    return -(-max(size, 1) // EXTENT) * EXTENT


def configuration(devices: Sequence[str], *, udev: bool) -> str:
    """Give LVM's settings for commands about some devices.  Pure."""
    accept = [f'"a|^{os.path.realpath(d)}$|"' for d in devices]
    filters = ", ".join([*accept, '"r|.*|"'])
    seen = f"use_devicesfile=0 global_filter=[ {filters} ] scan_lvs=0"
    # Which path or multipath device is used is decided before: LVM would refuse the path
    # of a LUN that was used as a multipath device some time ago.
    parts = [f"devices {{ {seen} multipath_component_detection=0 }}"]
    parts += ["backup { backup=0 archive=0 }", "global { event_activation=0 use_lvmpolld=0 }"]
    if not udev:
        parts.append("activation { udev_sync=0 udev_rules=0 }")
    return " ".join(parts)


def failure(done: Outcome, number: int) -> RpcError:
    """Give the error of a command that failed: 44, 47, 200, or ``number``."""
    text = (done.errors.strip() or done.output.strip() or "no reason given").splitlines()[-1]
    whole = done.errors.lower()
    if done.status == 124:
        return errors.backend_failure(errors.SR_UNAVAILABLE, "LVM does not answer in time")
    if done.status == 127:
        return errors.backend_failure(errors.GENERAL, done.errors)
    if "insufficient free" in whole or "insufficient suitable" in whole:
        return errors.backend_failure(errors.NO_SPACE, text.strip())
    if "input/output error" in whole or "read failed" in whole or "write failed" in whole:
        return errors.backend_failure(errors.EIO, text.strip())
    if "volume group" in whole and ("not found" in whole or "cannot process" in whole):
        return errors.backend_failure(errors.SR_UNAVAILABLE, "no such volume group")
    return errors.backend_failure(number, text.strip())


class Lvm:
    """LVM's commands about some devices."""

    def __init__(self, system: System, devices: Sequence[str]) -> None:
        self.system = system
        self.devices = list(devices)

    def run(self, command: str, *arguments: str, number: int = errors.GENERAL) -> str:
        """Run a command and give its output.  Errors: those of ``failure``."""
        config = configuration(self.devices, udev=os.path.exists("/run/udev/control"))
        done = self.system.run(command, "--config", config, *arguments, timeout_s=TIMEOUT_S)
        if done.status:
            raise failure(done, number)
        return done.output

    def report(self, command: str, columns: str, *arguments: str) -> list[dict[str, str]]:
        """Run a reporting command; rows in its own order, sizes in bytes."""
        options = ("--reportformat", "json", "--units", "b", "--nosuffix", "-o", columns)
        text = self.run(command, *options, *arguments, number=errors.LVM_READ)
        (section,) = json.loads(text)["report"]
        rows: list[Any] = next(iter(section.values()), [])
        return rows

    def groups(self) -> list[dict[str, str]]:
        """Physical volumes with vg_name and sizes; a group on several comes several times."""
        return self.report("pvs", "pv_name,pv_size,vg_name,vg_size,vg_free")


class VolumeGroup:
    """A volume group; ``volumes`` is what the last ``look`` saw and this object did since."""

    def __init__(self, lvm: Lvm, name: str, folder: Path) -> None:
        self.lvm = lvm
        self.name = name
        self.folder = folder / name
        self.volumes: dict[str, Volume] = {}
        self.size = 0
        self.free = 0

    def path(self, volume: str) -> Path:
        """The device of a volume that is active."""
        return self.folder / volume

    def look(self) -> None:
        """Read sizes and volumes.  Errors: 47 when the group is not there, 117, 200."""
        columns = "lv_name,lv_size,lv_attr,vg_size,vg_free"
        rows = self.lvm.report("lvs", columns, self.name)
        self.volumes = {}
        if not rows:  # a new group
            (row,) = self.lvm.report("vgs", "vg_size,vg_free", self.name)
            self.size, self.free = int(row["vg_size"]), int(row["vg_free"])
        for row in rows:
            self.size, self.free = int(row["vg_size"]), int(row["vg_free"])
            attributes = row["lv_attr"].ljust(6, "-")
            self.volumes[row["lv_name"]] = Volume(
                int(row["lv_size"]), attributes[4] == "a", attributes[5] == "o"
            )

    def create(self) -> None:
        """Make the group on its devices, over whatever they held.  Errors: 77."""
        options = ("--yes", "-ff", "--zero", "y", "--metadatasize", _METADATA_AREA)
        self.lvm.run("pvcreate", *options, *self.lvm.devices, number=errors.LVM_GROUP_CREATE)
        arguments = ("--physicalextentsize", "4m", "--setautoactivation", "n", self.name)
        self.lvm.run("vgcreate", *arguments, *self.lvm.devices, number=errors.LVM_GROUP_CREATE)

    def erase(self) -> None:
        """Remove the group with all volumes, and LVM's marks from its devices."""
        self.lvm.run("vgremove", "-ff", "--yes", self.name, number=errors.LVM_DELETE)
        self.lvm.run("pvremove", "--yes", *self.lvm.devices, number=errors.LVM_DELETE)
        self.volumes.clear()

    def claim_growth(self) -> None:
        """Use all of devices that became larger.  Errors: 59."""
        self.lvm.run("pvresize", *self.lvm.devices, number=errors.LVM_RESIZE)

    def make(self, volume: str, size: int) -> None:
        """Make a volume of ``round_up(size)`` bytes, active, with whatever was there before.

        Errors: 44, 50.
        """
        size = round_up(size)
        self._check_space(size)
        options = ("--yes", "-Wn", "-Zn", "-ay", "-l", str(size // EXTENT), "-n", volume)
        self.lvm.run("lvcreate", *options, self.name, number=errors.LVM_CREATE)
        self.volumes[volume] = Volume(size, True)
        self.free -= size

    def _check_space(self, more: int) -> None:
        if more > self.free:
            text = f"{more} bytes are needed, {self.free} are free"
            raise errors.backend_failure(errors.NO_SPACE, text)

    def extend(self, volume: str, size: int) -> None:
        """Make a volume larger, at least.  Errors: 44, 59."""
        size, known = round_up(size), self.volumes[volume]
        if size <= known.size:
            return
        self._check_space(size - known.size)
        extents = str(size // EXTENT)
        where = f"{self.name}/{volume}"
        self.lvm.run("lvextend", "--yes", "-l", extents, where, number=errors.LVM_RESIZE)
        self.free -= size - known.size
        known.size = size

    def reduce(self, volume: str, size: int) -> None:
        """Make a volume smaller; what is cut off is lost.  Errors: 59."""
        size, known = round_up(size), self.volumes[volume]
        if size >= known.size:
            return
        extents = str(size // EXTENT)
        where = f"{self.name}/{volume}"
        self.lvm.run("lvreduce", "--yes", "-f", "-l", extents, where, number=errors.LVM_RESIZE)
        self.free += known.size - size
        known.size = size

    def remove(self, volumes: Iterable[str]) -> None:
        """Remove volumes that nobody has open; those that are gone do not matter.  Errors: 51."""
        there = [v for v in volumes if v in self.volumes]
        if not there:
            return
        names = [f"{self.name}/{v}" for v in there]
        self.lvm.run("lvremove", "-f", "--yes", *names, number=errors.LVM_DELETE)
        for volume in there:
            self.free += self.volumes.pop(volume).size

    def activate(self, volumes: Iterable[str]) -> None:
        """Have volumes as devices on this host.  Errors: 52."""
        self._change("-ay", [v for v in volumes if not self.volumes[v].active], active=True)

    def refresh(self, volumes: Iterable[str]) -> None:
        """Let this host see the size another host gave to active volumes.  Errors: 52."""
        names = [f"{self.name}/{v}" for v in volumes]
        if names:
            self.lvm.run("lvchange", "--refresh", *names, number=errors.LVM_MOUNT)

    def deactivate(self, volumes: Iterable[str]) -> None:
        """Give the devices back.  Errors: 53 for volumes that are open."""
        self._change("-an", [v for v in volumes if self.volumes[v].active], active=False)

    def _change(self, option: str, volumes: list[str], *, active: bool) -> None:
        if not volumes:
            return
        names = [f"{self.name}/{v}" for v in volumes]
        number = errors.LVM_MOUNT if active else errors.LVM_UNMOUNT
        self.lvm.run("lvchange", option, *names, number=number)
        for volume in volumes:
            self.volumes[volume].active = active
