"""Certificates the pool trusts, and lists of revoked ones.

Source: facts/traces, poolhost-220 to -226; brief POOL 24.
"""

from xapi_py.api.call import Call
from xapi_py.api.moments import iso_date
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.pool.certificate_files import (
    CertificateFacts,
    PemFolder,
    facts_of,
    is_plain_name,
    is_revocation_list,
)


def trusted(call: Call) -> PemFolder:
    """Give the folder of trusted certificates."""
    return PemFolder(call.toolstack.settings.state / "certs")


def revocations(call: Call) -> PemFolder:
    """Give the folder of revocation lists."""
    return PemFolder(call.toolstack.settings.state / "crls")


@message("pool.install_ca_certificate")
def install_ca_certificate(call: Call, name: str, cert: str) -> None:
    """Trust a certificate authority.  Errors: as ``add_ca_certificate``."""
    facts = add_ca_certificate(call, name, cert)
    with call.db.transaction() as tx:
        tx.create("Certificate", {"name": name, "type": "ca", **facts.fields()})


def add_ca_certificate(call: Call, name: str, cert: str) -> CertificateFacts:
    """Put a certificate into this host's folder.

    Errors, in this order: CA_CERTIFICATE_INVALID, CA_CERTIFICATE_EXPIRED,
    CA_CERTIFICATE_NOT_VALID_YET, CERTIFICATE_NAME_INVALID,
    CERTIFICATE_ALREADY_EXISTS.
    """
    try:
        facts = facts_of(cert)
    except ValueError:
        raise err.CA_CERTIFICATE_INVALID() from None
    if facts.not_after < call.now():
        raise err.CA_CERTIFICATE_EXPIRED()
    if facts.not_before > call.now():
        raise err.CA_CERTIFICATE_NOT_VALID_YET()
    if not is_plain_name(name):
        raise err.CERTIFICATE_NAME_INVALID(name)
    folder = trusted(call)
    if folder.has(name):
        raise err.CERTIFICATE_ALREADY_EXISTS(name)
    folder.write(name, cert)
    return facts


@message("pool.uninstall_ca_certificate")
def uninstall_ca_certificate(call: Call, name: str, force: bool = False) -> None:
    """Trust a certificate authority no longer.  Errors: as ``remove_ca_certificate``."""
    remove_ca_certificate(call, name, force=force)
    rows = [r.ref for r in call.db.rows("Certificate") if r.type == "ca" and r.name == name]
    with call.db.transaction() as tx:
        for ref in rows:
            tx.delete("Certificate", ref)


def remove_ca_certificate(call: Call, name: str, *, force: bool) -> None:
    """Take a certificate out of this host's folder.

    Errors: CERTIFICATE_NAME_INVALID; CERTIFICATE_DOES_NOT_EXIST without ``force``.
    """
    if not is_plain_name(name):
        raise err.CERTIFICATE_NAME_INVALID(name)
    folder = trusted(call)
    if not folder.has(name) and not force:
        raise err.CERTIFICATE_DOES_NOT_EXIST(name)
    folder.remove(name)


@message("pool.certificate_install")
def certificate_install(call: Call, name: str, cert: str) -> None:
    """Do as ``install_ca_certificate``: the older name."""
    install_ca_certificate(call, name, cert)


@message("pool.certificate_uninstall")
def certificate_uninstall(call: Call, name: str) -> None:
    """Do as ``uninstall_ca_certificate``: the older name."""
    uninstall_ca_certificate(call, name)


@message("pool.certificate_list")
def certificate_list(call: Call) -> tuple[str, ...]:
    """List the names of trusted certificates."""
    return trusted(call).names()


@message("pool.crl_install")
def crl_install(call: Call, name: str, cert: str) -> None:
    """Add a list of revoked certificates.

    Errors: CRL_NAME_INVALID, CRL_CORRUPT, CRL_ALREADY_EXISTS.
    """
    if not is_plain_name(name):
        raise err.CRL_NAME_INVALID(name)
    if not is_revocation_list(cert):
        raise err.CRL_CORRUPT(name)
    folder = revocations(call)
    if folder.has(name):
        raise err.CRL_ALREADY_EXISTS(name)
    folder.write(name, cert)


@message("pool.crl_uninstall")
def crl_uninstall(call: Call, name: str) -> None:
    """Remove a list of revoked certificates.

    Errors: CRL_NAME_INVALID, CRL_DOES_NOT_EXIST.
    """
    if not is_plain_name(name):
        raise err.CRL_NAME_INVALID(name)
    if not revocations(call).has(name):
        raise err.CRL_DOES_NOT_EXIST(name)
    revocations(call).remove(name)


@message("pool.crl_list")
def crl_list(call: Call) -> tuple[str, ...]:
    """List the names of revocation lists."""
    return revocations(call).names()


@message("pool.certificate_sync")
def certificate_sync(call: Call) -> None:
    """Copy certificates and lists to all hosts: a lone host has them."""


@message("pool.enable_tls_verification")
def enable_tls_verification(call: Call) -> None:
    """Have hosts check each other's certificates from now on, for good."""
    with call.db.transaction() as tx:
        tx.set("pool", call.toolstack.pool, "tls_verification_enabled", True)
        for host in tuple(call.db.refs("host")):
            tx.set("host", host, "tls_verification_enabled", True)


@message("host.emergency_disable_tls_verification")
def emergency_disable_tls_verification(call: Call) -> None:
    """Stop checking on this host, where it keeps hosts from talking."""
    _verify(call, False)


@message("host.emergency_reenable_tls_verification")
def emergency_reenable_tls_verification(call: Call) -> None:
    """Check again on this host.  Errors: TLS_VERIFICATION_NOT_ENABLED_IN_POOL."""
    if not call.db.row("pool", call.toolstack.pool).tls_verification_enabled:
        raise err.TLS_VERIFICATION_NOT_ENABLED_IN_POOL()
    _verify(call, True)


def _verify(call: Call, value: bool) -> None:
    host: Ref = call.toolstack.localhost
    with call.db.transaction() as tx:
        tx.set("host", host, "tls_verification_enabled", value)


@message("pool.install_trusted_certificate")
def install_trusted_certificate(
    call: Call, self: Ref, ca: bool, cert: str, purpose: tuple[str, ...]
) -> None:
    """Trust a certificate for some purposes, known by its fingerprint.

    Errors: TRUSTED_CERTIFICATE_INVALID, TRUSTED_CERTIFICATE_EXPIRED,
    TRUSTED_CERTIFICATE_NOT_VALID_YET, TRUSTED_CERTIFICATE_ALREADY_EXISTS.
    """
    call.db.row("pool", self)
    try:
        facts = facts_of(cert)
    except ValueError:
        raise err.TRUSTED_CERTIFICATE_INVALID() from None
    now = call.now()
    if facts.not_after < now:
        raise err.TRUSTED_CERTIFICATE_EXPIRED(iso_date(now), iso_date(facts.not_after))
    if facts.not_before > now:
        raise err.TRUSTED_CERTIFICATE_NOT_VALID_YET(iso_date(now), iso_date(facts.not_before))
    kind = "ca" if ca else "pinned"
    for row in call.db.rows("Certificate"):
        if row.type == kind and row.fingerprint_sha256 == facts.fingerprint_sha256:
            raise err.TRUSTED_CERTIFICATE_ALREADY_EXISTS(facts.fingerprint_sha256)
    name = facts.fingerprint_sha256.replace(":", "").lower() + ".pem"
    trusted(call).write(name, cert)
    with call.db.transaction() as tx:
        fields = {"name": name, "type": kind, "purpose": purpose, **facts.fields()}
        tx.create("Certificate", fields)


@message("pool.uninstall_trusted_certificate")
def uninstall_trusted_certificate(call: Call, self: Ref, certificate: Ref) -> None:
    """Trust a certificate no longer.

    Errors: HANDLE_INVALID, NOT_TRUSTED_CERTIFICATE for a host's own.
    """
    call.db.row("pool", self)
    row = call.db.row("Certificate", certificate)
    if row.type not in ("ca", "pinned"):
        raise err.NOT_TRUSTED_CERTIFICATE(certificate)
    trusted(call).remove(row.name)
    with call.db.transaction() as tx:
        tx.delete("Certificate", certificate)
