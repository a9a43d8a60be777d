"""The toolstack's records, as drivers see them: over its unix socket, blocking.

Drivers of the first generation keep what they know about disks in these
records, so that is where their disks are looked up.
"""

import http.client
import socket
import xmlrpc.client
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sm import errors
from sm.contract import SrStat, Vdi
from xapi_py.base.names import NULL_REF

TIMEOUT_S: Final = 60.0


class _Unix(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(str(self._path))
        return connection


class Records:
    """A connection to the toolstack, with a session drivers may use.

    Errors of all methods: OSError, xmlrpc.client.Error, and LookupError for
    what the toolstack refuses.
    """

    def __init__(self, path: Path, host_uuid: str) -> None:
        self.path = path
        self._host_uuid = host_uuid
        self._session = ""

    def _raw(self, method: str, *params: object) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_Unix(self.path))
        call: Callable[..., Any] = getattr(proxy, method)
        answer = call(*params)
        if answer.get("Status") != "Success":
            raise LookupError(*answer.get("ErrorDescription", ["no answer"]))
        return answer["Value"]

    def call(self, method: str, *params: object) -> Any:
        """Call with the session; a lost one is made again."""
        for _ in range(2):
            session = self.session()
            try:
                return self._raw(method, session, *params)
            except LookupError as problem:
                if problem.args[:1] != ("SESSION_INVALID",):
                    raise
                self._session = ""
        raise LookupError("SESSION_INVALID")

    def session(self) -> str:
        """Give the session's reference."""
        if not self._session:
            params = ("root", "", "1.0", "storage drivers")
            self._session = str(self._raw("session.login_with_password", *params))
        return self._session

    def host(self) -> str:
        """Give this host's reference."""
        try:
            return str(self.call("host.get_by_uuid", self._host_uuid))
        except LookupError:
            return str(self.call("host.get_all")[0])

    def reference(self, cls: str, uuid: str) -> str:
        """Give an object's reference, the NULL one when there is none."""
        try:
            return str(self.call(f"{cls}.get_by_uuid", uuid))
        except LookupError:
            return NULL_REF

    def vdi(self, uuid: str) -> Vdi:
        """Give a disk.  Errors: Vdi_does_not_exist."""
        ref = self.reference("VDI", uuid)
        if ref == NULL_REF:
            raise errors.vdi_does_not_exist(uuid)
        return self._vdi(self.call("VDI.get_record", ref))

    def vdis(self, sr: str) -> list[Vdi]:
        """Give all disks of an SR."""
        ref = self.reference("SR", sr)
        found = [self.call("VDI.get_record", r) for r in self.call("SR.get_VDIs", ref)]
        return [self._vdi(record) for record in found]

    def _vdi(self, record: Mapping[str, Any]) -> Vdi:
        original = str(record["snapshot_of"])
        snapshot_of = ""
        if record["is_a_snapshot"] and original != NULL_REF:
            snapshot_of = str(self.call("VDI.get_uuid", original))
        return Vdi(
            uuid=record["uuid"],
            location=record["location"],
            name_label=record["name_label"],
            name_description=record["name_description"],
            type=record["type"],
            sharable=record["sharable"],
            read_only=record["read_only"],
            managed=record["managed"],
            missing=False,
            virtual_size=int(record["virtual_size"]),
            physical_utilisation=int(record["physical_utilisation"]),
            cbt_enabled=bool(record.get("cbt_enabled", False)),
            is_a_snapshot=record["is_a_snapshot"],
            snapshot_of=snapshot_of,
            snapshot_time=_seconds(str(record["snapshot_time"])),
            persistent=record["on_boot"] != "reset",
            parent=str(record["sm_config"].get("vhd-parent", "")),
            sm_config=record["sm_config"],
            xenstore_data=record["xenstore_data"],
        )

    def sr(self, uuid: str, sr_type: str, generation: int) -> SrStat:
        """Give an SR as its driver described it."""
        ref = self.reference("SR", uuid)
        record = self.call("SR.get_record", ref) if ref != NULL_REF else {}
        return SrStat(
            uuid=uuid,
            type=sr_type,
            name_label=record.get("name_label", ""),
            name_description=record.get("name_description", ""),
            physical_size=int(record.get("physical_size", 0)),
            physical_utilisation=int(record.get("physical_utilisation", 0)),
            virtual_allocation=int(record.get("virtual_allocation", 0)),
            sm_config=record.get("sm_config", {}),
            generation=generation,
        )


def _seconds(text: str) -> int:
    """Give the unix seconds of a date as the toolstack writes it."""
    try:
        found = datetime.strptime(text.rstrip("Z"), "%Y%m%dT%H:%M:%S")
    except ValueError:
        return 0
    return max(0, int(found.replace(tzinfo=UTC).timestamp()))
