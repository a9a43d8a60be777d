"""Editions of the product and what they allow.

There is no licensing daemon: every edition a client names is taken, and every
one grants what the host's licence parameters say.  Source: facts/traces,
poolhost-154 and -155.
"""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.license import DEFAULT_EDITION, pool_restrictions


@message("host.apply_edition")
def apply_edition(call: Call, host: Ref, edition: str, force: bool = False) -> None:
    """Change the edition of a host; the restrictions of the pool follow."""
    reached(call, host)
    set_edition(call, (host,), edition)


@message("host.license_add")
def license_add(call: Call, host: Ref, contents: str) -> None:
    """Add a licence file: a form no release of the profiles reads any more.

    Errors: LICENSE_PROCESSING_ERROR.
    """
    reached(call, host)
    raise err.LICENSE_PROCESSING_ERROR()


@message("host.license_remove")
def license_remove(call: Call, host: Ref) -> None:
    """Go back to the edition of a host without a licence."""
    reached(call, host)
    set_edition(call, (host,), DEFAULT_EDITION)


@message("host.refresh_pack_info")
def refresh_pack_info(call: Call, host: Ref) -> None:
    """Look for supplemental packs again: simulated hosts have none."""
    reached(call, host)


def set_edition(call: Call, hosts: tuple[Ref, ...], edition: str) -> None:
    """Write the edition of hosts and recompute ``pool.restrictions``."""
    db = call.db
    with db.transaction() as tx:
        for host in hosts:
            tx.set("host", host, "edition", edition)
        pool = db.row("pool", call.toolstack.pool)
        master = db.row("host", pool.master).license_params
        others = [row.license_params for row in db.rows("host") if row.ref != pool.master]
        restrictions = pool_restrictions(call.model.profile, master, others)
        tx.set("pool", pool.ref, "restrictions", restrictions)
