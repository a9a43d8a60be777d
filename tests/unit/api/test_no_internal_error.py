"""No message of pool, host and the smaller classes stumbles over plain arguments."""

import xmlrpc.client
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.server import Refused, Server
from xapi_py.api import registry
from xapi_py.datamodel.model import EnumOf, MapOf, RefOf, SetOf, Type

NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"
WITH_DAEMONS = frozenset({"VM", "VBD", "VIF", "VDI", "SR", "PBD", "session", "event"})
"""Classes whose own tests run them with daemons, or that would end the session."""
ENDS_THE_TEST = frozenset({"host.destroy", "Diagnostics.gc_compact"})
PLAIN = {"int": "1", "bool": True, "float": 1.0, "string": "x", "secret_string": "x"}

Reference = Callable[[str], str]


def argument(server: Server, kind: Type, reference: Reference) -> object:
    """Give a plain value of a type."""
    match kind:
        case RefOf():
            return reference(kind.cls)
        case EnumOf():
            return server.toolstack.model.enums[kind.name][0]
        case SetOf():
            return []
        case MapOf():
            return {}
    if str(kind) == "datetime":
        return xmlrpc.client.DateTime("20230101T00:00:00Z")
    return PLAIN.get(str(kind), {})


@pytest.mark.parametrize("profile", ["7.1", "newest"])
@pytest.mark.parametrize("exists", [True, False])
def test_plain_arguments_are_answered_or_refused(
    tmp_path_factory: pytest.TempPathFactory, profile: str, exists: bool
) -> None:
    server = Server(tmp_path_factory.mktemp("plain"), profile)
    session = server.login()

    def reference(cls: str) -> str:
        if not exists:
            return NOBODY
        refs = server.db.refs(cls)
        return refs[0] if refs else server.make(cls)

    stumbled = {}
    for name, message in server.toolstack.model.messages.items():
        if name not in registry.HANDLERS or name in ENDS_THE_TEST or message.cls in WITH_DAEMONS:
            continue
        arguments = [argument(server, p.type, reference) for p in message.params]
        try:
            answer = server.send(name, session, *arguments)
            if not isinstance(answer, Deferred) or answer.called:
                server.value_of(answer)
        except Refused as refused:
            if "[log " in str(refused):
                stumbled[name] = refused.args
    assert stumbled == {}
