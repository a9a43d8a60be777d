"""Passwords in device_config: kept as secret objects, given to drivers in clear.

Any key that ends in ``password`` is replaced by the same key with ``_secret``
that holds the uuid of a secret.  Every PBD owns its secrets, so that clients
may destroy the one they passed in.  Source: brief STORAGE 3.1.
"""

from collections.abc import Mapping

from xapi_py.db.database import Database
from xapi_py.db.transaction import Transaction
from xapi_py.pool.storage_records import find_uuid

PASSWORD = "password"
SECRET = "password_secret"


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


def forget(db: Database, tx: Transaction, config: Mapping[str, str]) -> None:
    """Delete the secrets a PBD's device_config names."""
    for key, value in config.items():
        source = find_uuid(db, "secret", value) if key.endswith(SECRET) else None
        if source is not None:
            tx.delete("secret", source)


def _new(db: Database, tx: Transaction, value: str) -> str:
    ref = tx.create("secret", {"value": value})
    return str(db.row("secret", ref).uuid)
