"""Messages of class Repository.  Source: facts/traces, poolhost-259 and -260."""

import re

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.settings import Setting, register
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

_URL = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d+)?(/\S*)?")
_KEY_PATH = re.compile(r"[A-Za-z0-9_-]+")
"""Keys lie in one folder under names without dots."""


def _check_key_path(call: Call, ref: Ref, path: str) -> None:
    if path and not _KEY_PATH.fullmatch(path):
        raise err.INVALID_GPGKEY_PATH(path)


register((Setting("Repository.set_gpgkey_path", ("gpgkey_path",), _check_key_path),))


@message("Repository.introduce")
def introduce(
    call: Call,
    name_label: str,
    name_description: str,
    binary_url: str,
    source_url: str,
    update: bool,
    gpgkey_path: str = "",
) -> Ref:
    """Note a repository of packages.

    Errors: INVALID_BASE_URL, INVALID_GPGKEY_PATH, REPOSITORY_ALREADY_EXISTS
    for a name or an address that is taken.
    """
    for url in (binary_url, source_url):
        if url and not _URL.fullmatch(url):
            raise err.INVALID_BASE_URL(url)
    if not binary_url:
        raise err.INVALID_BASE_URL(binary_url)
    _check_key_path(call, Ref(""), gpgkey_path)
    _check_unique(call, name_label, binary_url)
    fields = {
        "name_label": name_label,
        "name_description": name_description,
        "binary_url": binary_url,
        "source_url": source_url,
        "update": update,
        "gpgkey_path": gpgkey_path,
        "origin": "remote",
    }
    with call.db.transaction() as tx:
        return tx.create("Repository", fields)


@message("Repository.introduce_bundle")
def introduce_bundle(call: Call, name_label: str, name_description: str) -> Ref:
    """Note that updates come as files.  Errors: BUNDLE_REPOSITORY_ALREADY_EXISTS."""
    for row in call.db.rows("Repository"):
        if row.origin == "bundle":
            raise err.BUNDLE_REPOSITORY_ALREADY_EXISTS(row.ref)
    _check_unique(call, name_label, "")
    fields = {"name_label": name_label, "name_description": name_description, "origin": "bundle"}
    with call.db.transaction() as tx:
        return tx.create("Repository", {**fields, "update": True})


@message("Repository.introduce_remote_pool")
def introduce_remote_pool(
    call: Call, name_label: str, name_description: str, binary_url: str, certificate: str
) -> Ref:
    """Note another pool as source of updates.

    Errors: INVALID_BASE_URL, REPOSITORY_ALREADY_EXISTS.
    """
    if not _URL.fullmatch(binary_url):
        raise err.INVALID_BASE_URL(binary_url)
    _check_unique(call, name_label, binary_url)
    fields = {
        "name_label": name_label,
        "name_description": name_description,
        "binary_url": binary_url,
        "certificate": certificate,
        "update": True,
        "origin": "remote_pool",
    }
    with call.db.transaction() as tx:
        return tx.create("Repository", fields)


def _check_unique(call: Call, name_label: str, binary_url: str) -> None:
    for row in call.db.rows("Repository"):
        if row.name_label == name_label or (binary_url and row.binary_url == binary_url):
            raise err.REPOSITORY_ALREADY_EXISTS(row.ref)


@message("Repository.forget")
def forget(call: Call, self: Ref) -> None:
    """Drop a repository.  Errors: REPOSITORY_IS_IN_USE while updates come from it."""
    call.db.row("Repository", self)
    if self in call.db.row("pool", call.toolstack.pool).repositories:
        raise err.REPOSITORY_IS_IN_USE()
    with call.db.transaction() as tx:
        tx.delete("Repository", self)
