"""Passwords in device_config: kept as secret objects, given to drivers in clear.

Any key that ends in ``password`` is replaced by the same key with ``_secret``
that holds the uuid of a secret.  Every PBD owns its secrets, so that clients
may destroy the one they passed in.  Source: brief STORAGE 3.1.
"""

from collections.abc import Mapping

from xapi_py.base.names import Ref
from xapi_py.db.database import Database
from xapi_py.db.transaction import Transaction
from xapi_py.pool.storage_records import find_uuid

PASSWORD = "password"
SECRET = "password_secret"
_OF_HOST = ("SRmaster", "localIQN", "multipathing")


def own_copies(db: Database, tx: Transaction, config: Mapping[str, str]) -> dict[str, str]:
    """Give the device_config to store: each password in a new secret of its own.

    A ``_secret`` that names no secret stays as it is.
    """
    stored: dict[str, str] = {}
    for key, value in config.items():
        if key.endswith(PASSWORD):
            stored[f"{key}_secret"] = _new(db, tx, value)
        elif key.endswith(SECRET):
            source = find_uuid(db, "secret", value)
            found = None if source is None else db.row("secret", source).value
            stored[key] = value if found is None else _new(db, tx, found)
        else:
            stored[key] = value
    return stored


def in_clear(db: Database, config: Mapping[str, str]) -> dict[str, str]:
    """Give the device_config a driver works with: secrets replaced by what they hold."""
    clear: dict[str, str] = {}
    for key, value in config.items():
        source = find_uuid(db, "secret", value) if key.endswith(SECRET) else None
        if source is None:
            clear[key] = value
        else:
            clear[key.removesuffix("_secret")] = db.row("secret", source).value
    return clear


def for_driver(
    db: Database, pool: Ref, host: Ref, config: Mapping[str, str], *, shared: bool
) -> dict[str, str]:
    """Give the device_config a host's driver works with: in clear, and what it knows of the host.

    ``SRmaster``: whether the host is the one that changes the SR;
    ``localIQN``: its iSCSI name, unless given; ``multipathing``.
    """
    row = db.row("host", host)
    found = in_clear(db, config)
    name = row.iscsi_iqn or row.other_config.get("iscsi_iqn", "")
    if name:
        found.setdefault("localIQN", name)
    if row.multipathing or row.other_config.get("multipathing") == "true":
        found["multipathing"] = "true"
    master = not shared or host == db.row("pool", pool).master
    found["SRmaster"] = "true" if master else "false"
    return found


def from_driver(given: Mapping[str, str], made: Mapping[str, str]) -> dict[str, str]:
    """Give what a driver wants kept, without what only ``for_driver`` said."""
    return {k: v for k, v in made.items() if k not in _OF_HOST or k in given}


def forget(db: Database, tx: Transaction, config: Mapping[str, str]) -> None:
    """Delete the secrets a PBD's device_config names."""
    for key, value in config.items():
        source = find_uuid(db, "secret", value) if key.endswith(SECRET) else None
        if source is not None:
            tx.delete("secret", source)


def _new(db: Database, tx: Transaction, value: str) -> str:
    ref = tx.create("secret", {"value": value})
    return str(db.row("secret", ref).uuid)
