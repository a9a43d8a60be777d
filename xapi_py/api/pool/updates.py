"""Updates from repositories.  Source: facts/traces, poolhost-239 to -254."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan.operations.host import is_live


@message("pool.add_repository")
def add_repository(call: Call, self: Ref, value: Ref) -> None:
    """Take updates from one more repository."""
    call.db.row("pool", self)
    call.db.row("Repository", value)
    with call.db.transaction() as tx:
        tx.add_to_set("pool", self, "repositories", value)


@message("pool.remove_repository")
def remove_repository(call: Call, self: Ref, value: Ref) -> None:
    """Take no more updates from a repository."""
    call.db.row("pool", self)
    with call.db.transaction() as tx:
        tx.remove_from_set("pool", self, "repositories", value)


@message("pool.sync_updates")
def sync_updates(
    call: Call,
    self: Ref,
    force: bool,
    token: str = "",
    token_id: str = "",
    username: str = "",
    password: str = "",
) -> str:
    """Fetch what the repositories offer.

    Errors: NO_REPOSITORY_ENABLED; REPOSYNC_FAILED, as this server fetches no
    packages.
    """
    if not call.db.row("pool", self).repositories:
        raise err.NO_REPOSITORY_ENABLED()
    raise err.REPOSYNC_FAILED()


@message("pool.check_update_readiness")
def check_update_readiness(
    call: Call, self: Ref, requires_reboot: bool
) -> tuple[tuple[str, ...], ...]:
    """List the errors that keep updates from being applied: each a description."""
    call.db.row("pool", self)
    return tuple(
        ("HOST_OFFLINE", host.ref) for host in call.db.rows("host") if not is_live(call.db, host)
    )


@message("pool.get_guest_secureboot_readiness")
def get_guest_secureboot_readiness(call: Call, self: Ref) -> str:
    """Tell whether guests can check what they boot: not without certificates."""
    row = call.db.row("pool", self)
    return "ready" if row.uefi_certificates or row.custom_uefi_certificates else "not_ready"


@message("host.emergency_clear_mandatory_guidance")
def emergency_clear_mandatory_guidance(call: Call) -> None:
    """Forget what updates ask of this host."""
    with call.db.transaction() as tx:
        tx.set("host", call.toolstack.localhost, "pending_guidances", ())


@message("host.apply_updates")
def apply_updates(call: Call, self: Ref, hash: str) -> tuple[tuple[str, ...], ...]:
    """Install what the pool fetched on a host.

    Errors: HOST_OFFLINE, NO_REPOSITORY_ENABLED; UPDATEINFO_HASH_MISMATCH, as
    nothing is ever fetched.
    """
    reached(call, self)
    if not call.db.row("pool", call.toolstack.pool).repositories:
        raise err.NO_REPOSITORY_ENABLED()
    raise err.UPDATEINFO_HASH_MISMATCH()


@message("pool.enable_binary_storage")
def enable_binary_storage(call: Call) -> None:
    """Keep blobs and metrics on disk: they always are."""


@message("host.enable_binary_storage")
def enable_binary_storage_of_host(call: Call, host: Ref) -> None:
    """Keep blobs and metrics of a host on its disk: they always are."""
    reached(call, host)
