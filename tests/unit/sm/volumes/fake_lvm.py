"""LVM's commands on ordinary files: volume groups of devices that several hosts see.

New and longer volumes hold what deleted ones held, volumes are there as
devices only where they are active, and sizes are whole extents, as with the
real one.  ``step`` is called around every change, and may raise to die there.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sm.files.mounts import Outcome, System
from sm.volumes.lvm import EXTENT

MIB = 1024**2
STALE = b"\xa5"


class FakeLvm(System):
    """A host with LVM; hosts with the same ``folder`` see the same devices."""

    def __init__(self, folder: Path, host: str = "host", **devices: int) -> None:
        self._folder = folder
        self.dev = folder / f"dev-{host}"
        self.dev.mkdir(parents=True, exist_ok=True)
        self.commands: list[tuple[str, ...]] = []
        self.step: Callable[[str], None] = lambda _: None
        self.fails: dict[str, Outcome] = {}
        self.open: set[str] = set()
        self.mounted_at: dict[str, str] = {}
        self._media: dict[str, str] = {}
        self._seen: set[str] = set()
        state = self._read()
        for name, size in (devices or {"sdb": 4096 * MIB}).items():
            state["devices"].setdefault(str(folder / name), {"size": size, "group": ""})
        self._write(state)

    def device(self, name: str = "sdb") -> str:
        return str(self._folder / name)

    def is_block(self, path: str) -> bool:
        return path in self._read()["devices"]

    def grow_device(self, size: int, name: str = "sdb") -> None:
        state = self._read()
        state["devices"][self.device(name)]["size"] = size
        self._write(state)

    def volumes(self, group: str) -> dict[str, int]:
        """Sizes of a group's volumes."""
        found: dict[str, int] = self._read()["groups"][group]["volumes"]
        return found

    def active(self, group: str) -> set[str]:
        folder = self.dev / group
        return {p.name for p in folder.iterdir()} if folder.exists() else set()

    # -- state

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._folder / "lvm.json").read_text())
        except FileNotFoundError:
            return {"devices": {}, "groups": {}}
        return found

    def _write(self, state: dict[str, Any]) -> None:
        fresh = self._folder / "lvm.new"
        fresh.write_text(json.dumps(state))
        fresh.rename(self._folder / "lvm.json")

    def _data(self, group: str, volume: str) -> Path:
        return self._folder / "volumes" / group / volume

    # -- commands

    def run(self, *command: str, timeout_s: float = 60.0) -> Outcome:
        self.commands.append(command)
        name = command[0]
        if name in self.fails:
            return self.fails[name]
        if name == "lsblk":
            return Outcome(0, self.mounted_at.get(command[-1], ""), "")
        found = getattr(self, f"_{name}", None)
        if found is None:
            return Outcome(127, "", f"{name} is not installed")
        assert command[1] == "--config" and "global_filter" in command[2]
        seen = re.findall(r"\|\^(.*?)\$\|", command[2])
        self._seen = {self._media.get(path, path) for path in seen}
        changes = name not in ("pvs", "lvs", "vgs")
        if changes:
            self.step(f"{name}-before")
        state = self._read()
        outcome: Outcome = found(state, list(command[3:]))
        if changes and outcome.status == 0:
            self._write(state)
            self.step(f"{name}-after")
        self._check_overruns(state)
        return outcome

    def _check_overruns(self, state: dict[str, Any]) -> None:
        """Nobody may have written behind the end of a volume."""
        for group, found in state["groups"].items():
            for volume, size in found["volumes"].items():
                data = self._data(group, volume)
                assert not data.exists() or data.stat().st_size <= size, (volume, size)

    def _totals(self, state: dict[str, Any], group: str) -> tuple[int, int]:
        sizes = (d["size"] for d in state["devices"].values() if d["group"] == group)
        total = sum(s // EXTENT * EXTENT - 3 * EXTENT for s in sizes)
        return total, total - sum(state["groups"][group]["volumes"].values())

    def _pvs(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        rows = []
        for name, found in state["devices"].items():
            group = found["group"]
            if name in self._seen and ("pv" in found or group):
                total, free = self._totals(state, group) if group else (0, 0)
                row = {"pv_name": name, "pv_size": str(found["size"]), "vg_name": group}
                rows.append({**row, "vg_size": str(total), "vg_free": str(free)})
        return Outcome(0, json.dumps({"report": [{"pv": rows}]}), "")

    def _lvs(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        group = arguments[-1]
        if group not in state["groups"]:
            return Outcome(5, "", f'Volume group "{group}" not found\n  Cannot process ...')
        total, free = self._totals(state, group)
        rows = []
        for name, size in state["groups"][group]["volumes"].items():
            shown = "a" if name in self.active(group) else "-"
            opened = "o" if name in self.open else "-"
            row = {"lv_name": name, "lv_size": str(size), "lv_attr": f"-wi-{shown}{opened}----"}
            rows.append({**row, "vg_size": str(total), "vg_free": str(free)})
        if not rows:
            return Outcome(0, json.dumps({"report": [{"lv": []}]}), "")
        return Outcome(0, json.dumps({"report": [{"lv": rows}]}), "")

    def _vgs(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        total, free = self._totals(state, arguments[-1])
        row = {"vg_size": str(total), "vg_free": str(free)}
        return Outcome(0, json.dumps({"report": [{"vg": [row]}]}), "")

    def _pvcreate(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        for name in arguments:
            if name in state["devices"]:
                state["devices"][name] |= {"pv": True, "group": ""}
        return Outcome(0, "", "")

    def _vgcreate(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        devices = [a for a in arguments if a in state["devices"]]
        group = arguments[-len(devices) - 1]
        for name in devices:
            state["devices"][name]["group"] = group
        state["groups"][group] = {"volumes": {}}
        return Outcome(0, "", "")

    def _vgremove(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        group = arguments[-1]
        for volume in list(state["groups"][group]["volumes"]):
            self._hide(group, volume)
            self._data(group, volume).unlink(missing_ok=True)
        del state["groups"][group]
        for found in state["devices"].values():
            if found["group"] == group:
                found["group"] = ""
        return Outcome(0, "", "")

    def _pvremove(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        for name in arguments:
            state["devices"].get(name, {}).pop("pv", None)
        return Outcome(0, "", "")

    def _pvresize(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        return Outcome(0, "", "")

    def _lvcreate(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        size = int(arguments[arguments.index("-l") + 1]) * EXTENT
        volume, group = arguments[arguments.index("-n") + 1], arguments[-1]
        if size > self._totals(state, group)[1]:
            return Outcome(5, "", f'Volume group "{group}" has insufficient free space')
        if volume in state["groups"][group]["volumes"]:
            return Outcome(5, "", f"Logical Volume {volume} already exists")
        state["groups"][group]["volumes"][volume] = size
        data = self._data(group, volume)
        data.parent.mkdir(parents=True, exist_ok=True)
        self._fill(data, 0, size)
        self._show(group, volume)
        return Outcome(0, "", "")

    def _fill(self, data: Path, start: int, end: int) -> None:
        """Stale data here and there; all of it would take too long."""
        with open(data, "r+b" if data.exists() else "w+b") as file:
            file.truncate(end)
            for at in {start, (start + end) // 2 // 4096 * 4096}:
                file.seek(at)
                file.write(STALE * min(MIB, end - at))

    def _lvextend(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        size = int(arguments[arguments.index("-l") + 1]) * EXTENT
        group, volume = arguments[-1].split("/")
        volumes = state["groups"][group]["volumes"]
        more = size - volumes[volume]
        if more > self._totals(state, group)[1]:
            return Outcome(5, "", "Insufficient free space: 5 extents needed")
        self._fill(self._data(group, volume), volumes[volume], size)
        volumes[volume] = size
        return Outcome(0, "", "")

    def _lvreduce(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        size = int(arguments[arguments.index("-l") + 1]) * EXTENT
        group, volume = arguments[-1].split("/")
        state["groups"][group]["volumes"][volume] = size
        os.truncate(self._data(group, volume), size)
        return Outcome(0, "", "")

    def _lvremove(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        for where in (a for a in arguments if "/" in a):
            group, volume = where.split("/")
            if volume in self.open:
                return Outcome(5, "", f"Logical volume {where} in use.")
            state["groups"][group]["volumes"].pop(volume)
            self._hide(group, volume)
            self._data(group, volume).unlink()
        return Outcome(0, "", "")

    def _lvchange(self, state: dict[str, Any], arguments: list[str]) -> Outcome:
        for where in (a for a in arguments if "/" in a):
            group, volume = where.split("/")
            if volume not in state["groups"][group]["volumes"]:
                return Outcome(5, "", f"Failed to find logical volume {where}")
            if arguments[0] == "-ay":
                self._show(group, volume)
            elif arguments[0] == "-an":
                if volume in self.open:
                    return Outcome(5, "", f"Logical volume {where} in use.")
                self._hide(group, volume)
        return Outcome(0, "", "")

    def _show(self, group: str, volume: str) -> None:
        (self.dev / group).mkdir(exist_ok=True)
        link = self.dev / group / volume
        if not link.is_symlink():
            link.symlink_to(self._data(group, volume))

    def _hide(self, group: str, volume: str) -> None:
        (self.dev / group / volume).unlink(missing_ok=True)
