"""Keeping copies of shared disks on hosts' own storage (IntelliCache)."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.licence import require_feature
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err

CACHE_TYPES = frozenset({"ext", "xfs", "zfs", "dummy"})
"""Types of storage with files of their own on the host's disks."""


@message("host.enable_local_storage_caching")
def enable_on_host(call: Call, host: Ref, sr: Ref) -> None:
    """Use a host's storage as cache.

    Errors: LICENCE_RESTRICTION, HOST_NOT_DISABLED, HANDLE_INVALID,
    SR_OPERATION_NOT_SUPPORTED for storage that is shared or of no such type.
    """
    require_feature(call, "restrict_intellicache", "IntelliCache")
    _check_disabled(call, host)
    row = call.db.row("SR", sr)
    if row.shared or row.type not in CACHE_TYPES:
        raise err.SR_OPERATION_NOT_SUPPORTED(sr)
    _set(call, host, sr)


@message("host.disable_local_storage_caching")
def disable_on_host(call: Call, host: Ref) -> None:
    """Use no cache on a host.  Errors: HOST_NOT_DISABLED."""
    _check_disabled(call, host)
    _set(call, host, NULL_REF)


def _check_disabled(call: Call, host: Ref) -> None:
    if reached(call, host).enabled:
        raise err.HOST_NOT_DISABLED()


def _set(call: Call, host: Ref, sr: Ref) -> None:
    old = call.db.row("host", host).local_cache_sr
    with call.db.transaction() as tx:
        if call.db.find("SR", old) is not None:
            tx.set("SR", old, "local_cache_enabled", False)
        if sr != NULL_REF:
            tx.set("SR", sr, "local_cache_enabled", True)
        tx.set("host", host, "local_cache_sr", sr)


@message("pool.enable_local_storage_caching")
def enable_on_pool(call: Call, self: Ref) -> None:
    """Use a local SR of every host as cache.

    Errors: as on a host; HOSTS_FAILED_TO_ENABLE_CACHING with the hosts that
    have no such storage.
    """
    call.db.row("pool", self)
    chosen = {host: _local_sr(call, host) for host in call.db.refs("host")}
    lacking = [host for host, sr in chosen.items() if sr is None]
    if lacking:
        raise err.HOSTS_FAILED_TO_ENABLE_CACHING(*lacking)
    with call.db.transaction():
        for host, sr in chosen.items():
            assert sr is not None
            enable_on_host(call, host, sr)


def _local_sr(call: Call, host: Ref) -> Ref | None:
    for pbd in call.db.row("host", host).PBDs:
        sr = call.db.row("SR", call.db.row("PBD", pbd).SR)
        if not sr.shared and sr.type in CACHE_TYPES:
            return Ref(sr.ref)
    return None


@message("pool.disable_local_storage_caching")
def disable_on_pool(call: Call, self: Ref) -> None:
    """Use no cache on any host.  Errors: HOST_NOT_DISABLED; nothing changes then."""
    call.db.row("pool", self)
    with call.db.transaction():
        for host in tuple(call.db.refs("host")):
            disable_on_host(call, host)
