"""The parts of one running server, as every message's code reaches them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.base.simulator_config import SimulatorConfig
from xapi_py.base.slices import Slices
from xapi_py.datamodel.model import Model
from xapi_py.db.database import Database
from xapi_py.event.events import Events
from xapi_py.metrics.store import Metrics
from xapi_py.pool.gateway import Hosts
from xapi_py.pool.programs import NoPrograms, Programs
from xapi_py.pool.reservations import Reservations
from xapi_py.pool.role import Master, Role
from xapi_py.session.audit import AuditLog
from xapi_py.session.login import Login
from xapi_py.session.sessions import Sessions
from xapi_py.task.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the configuration say about this server.

    ``address`` is what clients reach this host at; ``state`` is the folder of
    its files; ``bare`` is a host without storage, NIC records, guest agent,
    consoles and performance data.
    """

    address: str
    state: Path
    profile: str
    backend: str = "simulator"
    bare: bool = False
    https_port: int = 443
    pool_secret: str = ""
    simulator: SimulatorConfig = SimulatorConfig()
    host_number: int = 1


@dataclass(slots=True, eq=False)
class Toolstack:
    """One server's parts.  Made by ``xapi_py.main``; tests make their own."""

    settings: Settings
    model: Model
    db: Database
    clock: Clock
    sessions: Sessions
    login: Login
    tasks: Tasks
    events: Events
    hosts: Hosts
    audit: AuditLog
    localhost: Ref
    """The host this process runs on."""
    pool: Ref
    reservations: Reservations = field(default_factory=Reservations)
    role: Role = Master()
    restart: Callable[[], None] = lambda: None
    """Ends this process so that its supervisor starts it again."""
    certificate_changed: Callable[[], None] = lambda: None
    """Has new connections use the server certificate that is in its file now."""
    programs: Programs = field(default_factory=NoPrograms)
    metrics: Metrics = field(default_factory=Metrics)
    nbd_ports: dict[str, int] = field(default_factory=dict)
    """Where disks are served over NBD: ports by address."""
    slices: Slices = field(init=False)

    def __post_init__(self) -> None:
        self.slices = Slices(self.clock)
