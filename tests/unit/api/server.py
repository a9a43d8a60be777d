"""A whole API server in memory, without daemons and without a network."""

import subprocess
import xmlrpc.client
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from xapi_py.api import registry
from xapi_py.api.call import Caller
from xapi_py.api.dispatch import Dispatcher
from xapi_py.api.toolstack import Settings, Toolstack
from xapi_py.base.names import Ref, Uuid
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.event.events import Events
from xapi_py.pool.gateway import Hosts
from xapi_py.pool.programs import Finished
from xapi_py.session.audit import AuditLog
from xapi_py.session.directory import DirectoryUser, PasswordAuthenticator, TableDirectory
from xapi_py.session.login import Login
from xapi_py.session.sessions import Sessions
from xapi_py.start import first_boot, local_records
from xapi_py.start.identity import HostFacts
from xapi_py.start.local_records import HostIdentity
from xapi_py.task.tasks import Tasks
from xapi_py.wire.dialect import Dialect
from xapi_py.wire.xmlrpc import XMLRPC

PASSWORD = "correct horse"
BOOTED_AT = 1_700_000_000

FACTS = HostFacts(
    memory_total=32 << 30,
    memory_free=30 << 30,
    control_domain_memory=2 << 30,
    cpu={"cpu_count": "4", "socket_count": "1", "vendor": "GenuineIntel", "speed": "2500"},
    hypervisor={"version": "4.17", "caps": "xen-3.0-x86_64 hvm-3.0-x86_64"},
    chipset={"iommu": "true"},
)
ME = HostIdentity(
    uuid=Uuid("4e0ff4a2-5e5a-4c5c-8a0b-0d5a1f5f0001"),
    control_domain_uuid=Uuid("4e0ff4a2-5e5a-4c5c-8a0b-0d5a1f5f0002"),
    hostname="host-1",
    address="127.0.0.1",
)


class ChildPrograms:
    """Runs programs for real, one at a time."""

    async def run(self, path: Path, arguments: Sequence[str], text: str = "") -> Finished:
        done = subprocess.run([path, *arguments], input=text, capture_output=True, text=True)
        return Finished(done.returncode, done.stdout, done.stderr)


@cache
def _installation(profile: str) -> MemoryEngine:
    """Keep what a host of the profile holds after its first boot; made once a process."""
    engine, clock, model = MemoryEngine(), Clock(), load_model(profile)  # type: ignore[arg-type]
    clock.advance(BOOTED_AT)
    db = Database(load_model("all"), engine, clock)
    host = local_records.refresh(db, model, ME, FACTS, BOOTED_AT)
    first_boot.ensure(db, model, host)
    clock.advance(0)
    return engine


def installed(profile: str) -> MemoryEngine:
    """Give an engine of one's own; a database on it sees a restart after the first boot."""
    first, engine = _installation(profile), MemoryEngine()
    engine.rows, engine.reserved = first.rows.copy(), first.reserved
    return engine


class Refused(Exception):
    """The server answered with a failure; ``args`` is the ErrorDescription."""


class Server:
    """Call messages as a client would: through the XML of a dialect and back."""

    def __init__(self, folder: Path, profile: str = "newest", users: Any = ()) -> None:
        registry.load_all()
        self.clock = Clock()
        self.clock.advance(BOOTED_AT)
        model = load_model(profile)  # type: ignore[arg-type]
        db = self.db = Database(load_model("all"), installed(profile), self.clock)
        host = local_records.refresh(db, model, ME, FACTS, int(self.clock.seconds()))
        (pool,) = db.refs("pool")
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        sessions = Sessions(db, self.clock, lambda: host)
        directory = TableDirectory(tuple(users)) if users else None
        self.toolstack = Toolstack(
            settings=Settings("127.0.0.1", folder, profile, pool_secret="a/b/c"),
            model=model,
            db=db,
            clock=self.clock,
            sessions=sessions,
            login=Login(
                db,
                model,
                sessions,
                self.clock,
                PasswordAuthenticator("root", password_file),
                directory,
            ),
            tasks=Tasks(db, self.clock, lambda: host),
            events=Events(db, model, self.clock, sessions.is_live),
            hosts=Hosts(),
            audit=AuditLog(folder, "host-1"),
            localhost=host,
            pool=pool,
        )
        self.toolstack.programs = ChildPrograms()
        if directory is not None:
            self.put("host", host, external_auth_type="AD", external_auth_service_name="example")
        self.dispatcher = Dispatcher(self.toolstack)
        self.settle()

    @property
    def this_host(self) -> Ref:
        """The only host."""
        return self.toolstack.localhost

    @property
    def this_pool(self) -> Ref:
        """The pool."""
        return self.toolstack.pool

    def put(self, cls: str, ref: Ref, **fields: Any) -> None:
        """Write fields of a row as a daemon or another message would."""
        with self.db.transaction() as tx:
            tx.update(cls, ref, **fields)

    def make(self, cls: str, **fields: Any) -> Ref:
        """Make a row as a daemon or another message would."""
        with self.db.transaction() as tx:
            return tx.create(cls, fields)

    def refusal(self, method: str, *params: Any) -> list[str]:
        """Give the ErrorDescription of a call that must be refused."""
        try:
            value = self.call(method, *params)
        except Refused as refused:
            return list(refused.args)
        raise AssertionError(f"{method} answered {value!r}")

    def settle(self) -> None:
        """Let what is due now happen, and what follows from it."""
        now = self.clock.seconds()
        while any(call.getTime() <= now for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def send(
        self, method: str, *params: Any, dialect: Dialect = XMLRPC, caller: Caller | None = None
    ) -> Any:
        """Send a call; gives a finished answer's bytes or the Deferred of them."""
        body = xmlrpc.client.dumps(params, method, allow_none=True).encode()
        answer = self.dispatcher.rpc(dialect, dialect.parse_request(body), caller or Caller())
        self.settle()
        return answer

    def call(self, method: str, *params: Any, caller: Caller | None = None) -> Any:
        """Give the Value of a call that is answered without waiting.

        Errors: Refused with the ErrorDescription.
        """
        return self.value_of(self.send(method, *params, caller=caller))

    def value_of(self, answer: Any) -> Any:
        """Read a finished answer."""
        chunks = answer if isinstance(answer, list) else answer.result
        (envelope,), _ = xmlrpc.client.loads(b"".join(chunks).decode())
        if isinstance(envelope, dict) and "Status" in envelope:
            if envelope["Status"] != "Success":
                raise Refused(*envelope["ErrorDescription"])
            return envelope["Value"]
        return envelope

    def login(self, user: str = "root", password: str = PASSWORD) -> str:
        """Log in and give the session."""
        return str(self.call("session.login_with_password", user, password, "2.6", "tests"))


def directory_user(role: str) -> DirectoryUser:
    """Make a directory user called after a role."""
    return DirectoryUser(role, f"sid-{role}", "pw")
