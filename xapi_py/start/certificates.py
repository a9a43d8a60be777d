"""Class Certificate's records of what this host presents to clients."""

from xapi_py.api.toolstack import Toolstack
from xapi_py.pool.certificate_files import facts_of, server_certificate


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
