"""The generations of XenCenter and their way from a login to a filled cache."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.contract.xencenter_client import (
    DATE,
    SCHANNEL_2017,
    Client,
    Connection,
    JsonRpc,
    XmlRpc,
)
from tests.integration.running_pool import RunningPool
from xapi_py.datamodel.model import Model
from xapi_py.datamodel.value_types import (
    Bool,
    DateTime,
    Float,
    Int,
    MapOf,
    OptionOf,
    RecordOf,
    SetOf,
    Type,
)


@dataclass(frozen=True)
class Generation:
    """One client: the profile it is tried on, and what it speaks when."""

    profile: str
    version: str
    login: Callable[[], XmlRpc | JsonRpc]
    then: Callable[[], XmlRpc | JsonRpc]
    reads_permissions: bool = True

    @property
    def is_xml(self) -> bool:
        return isinstance(self.then(), XmlRpc)


GENERATIONS = {
    "7.1": Generation("7.1", "2.6", XmlRpc, XmlRpc, reads_permissions=False),
    "8.2_with_API_2.6": Generation(
        "7.1", "2.15", lambda: XmlRpc("XenAPI/2.15"), lambda: JsonRpc("1.0")
    ),
    "8.2_with_newest": Generation(
        "newest", "2.15", lambda: XmlRpc("XenAPI/2.15"), lambda: JsonRpc("2.0")
    ),
    "2023": Generation("newest", "2.20", lambda: JsonRpc("2.0"), lambda: JsonRpc("2.0")),
}


@dataclass
class XenCenter:
    """A client of one generation and what it was told while it connected."""

    generation: Generation
    pool: RunningPool
    session: str = ""
    pools: dict[str, Any] = field(default_factory=dict)
    master: dict[str, Any] = field(default_factory=dict)
    superuser: bool = False
    permissions: list[str] = field(default_factory=list)
    roles: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)
    servertime: str = ""
    asked_at: float = 0.0

    def client(self, dialect: XmlRpc | JsonRpc | None = None) -> Client:
        """Open another connection; T5: each of its own, all with the one session."""
        host = self.pool.host()
        connection = Connection(host.address, host.https, ciphers=":".join(SCHANNEL_2017))
        return Client(connection, dialect or self.generation.then())

    def connect(self) -> "XenCenter":
        """Go through the sequence; the order of calls is the client's."""
        host, generation = self.pool.host(), self.generation
        login = self.client(generation.login())
        self.session = login.call(
            "session.login_with_password",
            host.user,
            host.password,
            generation.version,
            f"XenAPI/{generation.version}",
        )
        self.pools = login.call("pool.get_all_records", self.session)
        master = next(iter(self.pools.values()))["master"]
        self.master = login.call("host.get_record", self.session, master)
        login.connection.close()
        main = self.client()
        self.superuser = main.call("session.get_is_local_superuser", self.session, self.session)
        if generation.reads_permissions:
            self.permissions = main.call("session.get_rbac_permissions", self.session, self.session)
            main.call("role.get_all_records", self.session)
        self.roles = main.call("role.get_all_records", self.session)
        self.first = main.call("event.from", self.session, ["*"], "", 30.0)
        self.asked_at = time.time()
        self.servertime = main.call("host.get_servertime", self.session, master)
        main.connection.close()
        return self

    @property
    def master_ref(self) -> str:
        ref: str = next(iter(self.pools.values()))["master"]
        return ref

    def snapshots(self, cls: str) -> dict[str, dict[str, Any]]:
        """Give the client's cache of one class, by reference."""
        return {e["ref"]: e["snapshot"] for e in self.first["events"] if e["class"] == cls.lower()}

    @property
    def cached_host(self) -> dict[str, Any]:
        return self.snapshots("host")[self.master_ref]


def fits(value: Any, wanted: Type, is_xml: bool, model: Model) -> bool:
    """Tell whether a value as read from the wire has the form of its declared type."""
    match wanted:
        case Int():
            return bool(re.fullmatch(r"-?\d+", value)) if is_xml else type(value) is int
        case Float():
            return isinstance(value, float | int)
        case Bool():
            return isinstance(value, bool)
        case DateTime():
            return bool(DATE.match(value))
        case SetOf(of):
            return isinstance(value, list) and all(fits(v, of, is_xml, model) for v in value)
        case MapOf(_, of):
            return isinstance(value, dict) and all(
                fits(v, of, is_xml, model) for v in value.values()
            )
        case OptionOf(of):
            return fits(value, of, is_xml, model)
        case RecordOf():
            return isinstance(value, dict)
        case _:
            return isinstance(value, str)
