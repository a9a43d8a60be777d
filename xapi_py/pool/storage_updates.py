"""Follows the storage daemon of one host: sizes of SRs, disks that come, change and go."""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.waiting import all_of
from xapi_py.db.database import Database
from xapi_py.pool.following import Following, result_of
from xapi_py.pool.gateway import Daemon
from xapi_py.pool.storage_records import Record, find_uuid, put_changes, put_scan

log = logging.getLogger(__name__)

WHOLE_SR = 20
"""From so many changed disks on, an SR is read whole instead of disk by disk."""


class StorageUpdates(Following):
    """The consumer of one storage daemon's updates.

    Reading everything means: PBDs of this host show what the daemon has
    attached, and every attached SR is scanned.
    """

    def __init__(self, db: Database, daemon: Daemon, host: Ref, clock: Clock) -> None:
        super().__init__("the storage daemon", daemon, clock)
        self._db = db
        self._host = host
        self.on_merging: Callable[[str], None] = lambda sr: None
        """Called with an SR whose garbage collection merges images."""

    async def read_all(self) -> None:
        """Read which SRs are attached and all they hold."""
        stats: Any = result_of(await self._daemon.read("SR.list", {}, dbg="resync"))
        attached = {stat["uuid"] for stat in stats}
        self._mark_attached(attached)
        for outcome in await all_of(self._scan(uuid) for uuid in attached):
            if isinstance(outcome, RpcError):
                log.warning("an SR cannot be scanned: %s", outcome)
            elif outcome is not None:
                raise outcome

    def _mark_attached(self, attached: set[str]) -> None:
        db = self._db
        host = db.find("host", self._host)
        if host is None:
            return
        with db.transaction() as tx:
            for ref in tuple(host.PBDs):
                sr = db.find("SR", db.row("PBD", ref).SR)
                there = sr is not None and sr.uuid in attached
                tx.set("PBD", ref, "currently_attached", there)

    async def _scan(self, uuid: str) -> None:
        sr = find_uuid(self._db, "SR", uuid)
        if sr is None:
            return
        since = self._db.generation
        answer = result_of(await self._daemon.read("SR.scan", {"sr": uuid}, dbg="resync"))
        put_scan(self._db, sr, answer["sr"], answer["vdis"], since)

    async def read_changed(self, answer: Mapping[str, Any]) -> None:
        """Read the named SRs and disks again."""
        changed: dict[str, set[str]] = defaultdict(set)
        for kind, sr, *rest in answer["updates"]:
            if kind == "gc":
                self.on_merging(sr)
                continue
            changed[sr].update(rest if kind == "vdi" else ())
        for outcome in await all_of(self._refresh(sr, vdis) for sr, vdis in changed.items()):
            if outcome is not None:
                raise outcome

    async def _refresh(self, sr: str, vdis: set[str]) -> None:
        if find_uuid(self._db, "SR", sr) is None:
            return
        try:
            if len(vdis) >= WHOLE_SR:
                await self._scan(sr)
                return
            stat = await self._read("SR.stat", sr=sr)
            records = await self._records(sr, vdis)
        except RpcError as problem:
            if problem.name != "Sr_not_attached":
                log.warning("SR %s cannot be read: %s", sr, problem)
            return
        put_changes(self._db, sr, stat, records)

    async def _records(self, sr: str, wanted: set[str]) -> dict[str, Record | None]:
        """Read disks, and hidden parents that came with them and are not announced."""
        records: dict[str, Record | None] = {}
        while wanted:
            found = await all_of(self._vdi(sr, vdi) for vdi in wanted)
            for vdi, record in zip(wanted, found, strict=True):
                if isinstance(record, BaseException):
                    raise record
                records[vdi] = record
            parents = {r["parent"] for r in records.values() if r is not None and r["parent"]}
            wanted = {p for p in parents if p not in records and not self._known(p)}
        return records

    def _known(self, vdi: str) -> bool:
        return find_uuid(self._db, "VDI", vdi) is not None

    async def _vdi(self, sr: str, vdi: str) -> Record | None:
        try:
            return await self._read("VDI.stat", sr=sr, vdi=vdi)
        except RpcError as problem:
            if problem.name != "Vdi_does_not_exist":
                raise
            return None

    async def _read(self, method: str, **params: object) -> Record:
        record: Record = result_of(await self._daemon.read(method, params, dbg="updates"))
        return record
