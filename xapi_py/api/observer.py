"""Messages of class Observer: what is traced, kept for tools that read it."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.api.settings import Setting, existing, register
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

COMPONENTS = frozenset({"xapi", "xenopsd", "xapi-clusterd", "smapi"})


def _components(call: Call, ref: Ref, value: tuple[str, ...]) -> None:
    for name in value:
        if name not in COMPONENTS:
            raise err.INVALID_VALUE("components", name)


def _endpoints(call: Call, ref: Ref, value: tuple[str, ...]) -> None:
    for endpoint in value:
        if endpoint != "bugtool" and not endpoint.startswith(("http://", "https://")):
            raise err.INVALID_VALUE("endpoints", endpoint)


register(
    (
        Setting("Observer.set_hosts", ("hosts",), existing("host")),
        Setting("Observer.set_enabled", ("enabled",)),
        Setting("Observer.set_attributes", ("attributes",)),
        Setting("Observer.set_endpoints", ("endpoints",), _endpoints),
        Setting("Observer.set_components", ("components",), _components),
    )
)


@message("Observer.register")
def register_on(call: Call, self: Ref, host: Ref) -> None:
    """Start an observer on a host: nothing is traced, so nothing starts."""
    reached(call, host)
    call.db.row("Observer", self)


@message("Observer.unregister")
def unregister_on(call: Call, self: Ref, host: Ref) -> None:
    """Stop an observer on a host."""
    reached(call, host)
    call.db.row("Observer", self)
