"""Where clients reach a real host: at its management interface."""

from pathlib import Path

from tests.unit.api.network.network_server import NetworkServer
from tests.unit.api.network.test_refusals import with_ip
from xapi_py.base.names import Ref
from xapi_py.pool import host_address


def test_consoles_follow_the_host(tmp_path: Path) -> None:
    server = NetworkServer(tmp_path)
    host = server.db.row("host", server.this_host)
    domain = Ref(host.control_domain)
    (console, *_) = server.db.row("VM", domain).consoles
    port = server.db.row("console", Ref(console)).location.partition("/console")[0].count(":")
    pif = with_ip(server, "eth1")
    server.do("host.management_reconfigure", pif)
    location = server.db.row("console", Ref(console)).location
    assert host.address == "192.0.2.1"
    assert location.startswith("https://192.0.2.1")
    assert location.endswith(f"/console?ref={console}")
    assert location.partition("/console")[0].count(":") == port


def test_address_of_the_management_interface_counts(tmp_path: Path) -> None:
    server = NetworkServer(tmp_path)
    host = server.db.row("host", server.this_host)
    assert host_address.management_address(server.db, host) == "10.71.1.10"
    before = host.address
    with server.db.transaction() as tx:
        host_address.moved(server.db, tx, host, "")
    assert host.address == before, "a lease that is late takes nothing away"
    server.put("PIF", server.pif("eth0"), primary_address_type="IPv6", IPv6=("2001:db8::9/64",))
    assert host_address.management_address(server.db, host) == "2001:db8::9"
