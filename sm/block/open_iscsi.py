"""Sessions of the kernel with iSCSI targets, through open-iscsi.  Blocking.

Passwords go into open-iscsi's records, which only root can read, and never
into arguments.  Several SRs may use one target: the session ends with the last.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from sm import errors
from sm.block.initiator import Chap, Portal
from sm.block.sysfs import Sysfs
from sm.files.mounts import Outcome, System

_EXISTS: Final = 15
_NO_DAEMON: Final = 20
_NO_RECORD: Final = 21
LOGIN_TIMEOUT_S: Final = 60.0


def settings(chap: Chap, *, multipath: bool) -> dict[str, str]:
    """Give the settings of a record that are ours.

    With several paths a lost one is given up soon, else its return is waited for.
    """
    found = {
        "node.startup": "manual",
        "node.session.timeo.replacement_timeout": "15" if multipath else "144",
        "node.session.auth.authmethod": "CHAP" if chap.user else "None",
        "node.session.initial_login_retry_max": "2",
        "node.conn[0].timeo.login_timeout": "10",
        "node.conn[0].timeo.noop_out_interval": "5",
        "node.conn[0].timeo.noop_out_timeout": "10",
    }
    for key, value in (
        ("username", chap.user),
        ("password", chap.password),
        ("username_in", chap.incoming_user),
        ("password_in", chap.incoming_password),
    ):
        found[f"node.session.auth.{key}"] = value
    return found


def with_settings(record: str, wanted: Mapping[str, str]) -> str:
    """Give a record's text with other settings; empty ones are left out."""
    lines = []
    for line in record.splitlines():
        key = line.partition("=")[0].strip()
        if key == "# END RECORD":
            lines += [f"{k} = {v}" for k, v in wanted.items() if v]
        if key not in wanted:
            lines.append(line)
    return "\n".join(lines) + "\n"


class OpenIscsi:
    """open-iscsi on this host; ``folder`` is where users of targets are noted."""

    def __init__(self, system: System, folder: Path) -> None:
        self._system = system
        self._folder = folder
        self._sysfs = Sysfs(system.sys)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _run(self, *arguments: str) -> Outcome:
        command = ("iscsiadm", "-m", *arguments)
        done = self._system.run(*command, timeout_s=LOGIN_TIMEOUT_S)
        if done.status == _NO_DAEMON:
            self._system.run("iscsid")
            done = self._system.run(*command, timeout_s=LOGIN_TIMEOUT_S)
        return done

    def _interface(self, initiator: str) -> str:
        """Give open-iscsi's name for log-ins under an initiator name."""
        name = f"xapi-{hashlib.sha1(initiator.encode()).hexdigest()[:12]}"
        path = self._system.iscsi / "ifaces" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            text = f"iface.iscsi_ifacename = {name}\niface.transport_name = tcp\n"
            text += f"iface.initiatorname = {initiator}\n"
            head, tail = "# BEGIN RECORD 2.1.8\n", "# END RECORD\n"
            _write(path, head + text + tail)
        return name

    def _users(self, iqn: str) -> Path:
        return self._folder / hashlib.sha1(iqn.encode()).hexdigest()

    def log_in(
        self,
        user: str,
        initiator: str,
        portals: Sequence[Portal],
        chap: Chap,
        *,
        multipath: bool,
    ) -> int:
        """Have sessions with a target at all portals that answer, for a user; gives their number.

        Errors: 68 when none can be had.
        """
        iqn, last = portals[0].iqn, ""
        with self._locked():
            name = self._interface(initiator)
            there = {where for _, where in self._sysfs.sessions(iqn)}
            count = 0
            for portal in portals:
                where = f"{portal.address}:{portal.port}"
                if where in there:
                    count += 1
                    continue
                problem = self._log_in(portal, name, settings(chap, multipath=multipath))
                count += not problem
                last = problem or last
            if not count:
                raise errors.backend_failure(errors.ISCSI_LOGIN, last)
            self._users(iqn).mkdir(parents=True, exist_ok=True)
            (self._users(iqn) / user).write_text(iqn)
        return count

    def _log_in(self, portal: Portal, name: str, wanted: Mapping[str, str]) -> str:
        """Log in at one portal; gives what went wrong, or nothing."""
        address = f"[{portal.address}]" if ":" in portal.address else portal.address
        where = f"{address}:{portal.port},{portal.group}"
        node = ("node", "-T", portal.iqn, "-p", where, "-I", name)
        made = self._run(*node, "-o", "new")
        folder = f"{portal.address},{portal.port},{portal.group}"
        path = self._system.iscsi / "nodes" / portal.iqn / folder / name
        if made.status or not path.exists():
            return made.errors.strip() or "open-iscsi keeps no record"
        _write(path, with_settings(path.read_text(), wanted))
        done = self._run(*node, "--login")
        if done.status in (0, _EXISTS):
            return ""
        self._run(*node, "-o", "delete")
        return f"iscsiadm says {done.status}: {(done.errors.strip().splitlines() or [''])[-1]}"

    def log_out(self, user: str, iqn: str) -> None:
        """End the sessions with a target, unless others use it; forget passwords."""
        with self._locked():
            users = self._users(iqn)
            (users / user).unlink(missing_ok=True)
            if users.exists() and any(users.iterdir()):
                return
            if self._sysfs.sessions(iqn):
                done = self._run("node", "-T", iqn, "--logout")
                if done.status not in (0, _NO_RECORD):
                    text = (done.errors.strip().splitlines() or [""])[-1]
                    raise errors.backend_failure(errors.ISCSI_LOGOUT, text)
            self._run("node", "-T", iqn, "-o", "delete")
            with contextlib.suppress(OSError):
                users.rmdir()

    def rescan(self, iqn: str) -> None:
        """Look for new LUNs of a target."""
        self._run("node", "-T", iqn, "--rescan")


def _write(path: Path, text: str) -> None:
    """Write a file that only root can read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.rename(fresh, path)
