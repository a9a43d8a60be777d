"""Changes of the certificate a host presents to clients, and its records.

One certificate serves clients and other hosts.
"""

from datetime import UTC, datetime

from xapi_py.api.call import Call
from xapi_py.api.disk_files import in_thread
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import Ref
from xapi_py.base.private_file import replace
from xapi_py.pool.certificate_files import SERVER_CERTIFICATE, facts_of, server_certificate
from xapi_py.pool.server_certificate import checked, self_signed


@message("host.install_server_certificate")
async def install_server_certificate(
    call: Call, host: Ref, certificate: str, private_key: str, certificate_chain: str
) -> None:
    """Present a certificate from outside; open connections keep the old one.

    Errors: see ``xapi_py.pool.server_certificate.checked``.
    """
    reached(call, host)
    await _present(call.toolstack, checked(certificate, private_key, certificate_chain, _now(call)))


@message("host.reset_server_certificate")
async def reset_server_certificate(call: Call, host: Ref) -> None:
    """Present a new self-signed certificate."""
    reached(call, host)
    await emergency_reset_server_certificate(call)


@message("host.emergency_reset_server_certificate")
async def emergency_reset_server_certificate(call: Call) -> None:
    """Do the same on this host, whatever its part in the pool."""
    names = list(dict.fromkeys(names_of(call.toolstack)))
    await _present(call.toolstack, await in_thread(self_signed, names, _now(call)))


def names_of(toolstack: Toolstack) -> tuple[str, ...]:
    """Give the names clients may know this host by."""
    hostname = toolstack.db.row("host", toolstack.localhost).hostname
    return (hostname, toolstack.settings.address, "localhost")


def record(toolstack: Toolstack) -> None:
    """Write the records of the server's certificate; without one there are none.

    One record for clients, one for other hosts, as on real hosts.
    """
    db, host = toolstack.db, toolstack.localhost
    try:
        fields = facts_of(server_certificate(toolstack.settings.state)).fields()
    except (FileNotFoundError, ValueError):
        return
    present = {row.type: row.ref for row in db.rows("Certificate") if row.host == host}
    with db.transaction() as tx:
        for kind in ("host", "host_internal"):
            if kind in present:
                tx.update("Certificate", present[kind], **fields)
            else:
                tx.create("Certificate", {"type": kind, "host": host, **fields})


async def _present(toolstack: Toolstack, pem: bytes) -> None:
    await in_thread(replace, toolstack.settings.state / SERVER_CERTIFICATE, pem)
    toolstack.certificate_changed()
    record(toolstack)


def _now(call: Call) -> datetime:
    return datetime.fromtimestamp(call.now(), UTC)
