"""The certificates a host trusts, in its own files, and the one it presents."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.pool import certificates
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.pool.certificate_files import server_certificate


@message("host.get_server_certificate")
def get_server_certificate(call: Call, host: Ref) -> str:
    """Give the certificate as PEM text.  Errors: INTERNAL_ERROR where none was made."""
    reached(call, host)
    try:
        return server_certificate(call.toolstack.settings.state)
    except (FileNotFoundError, ValueError) as problem:
        raise err.INTERNAL_ERROR(f"no server certificate: {problem}") from problem


@message("host.certificate_list")
def certificate_list(call: Call, host: Ref) -> tuple[str, ...]:
    """List the names of trusted certificates on a host."""
    reached(call, host)
    return certificates.trusted(call).names()


@message("host.crl_list")
def crl_list(call: Call, host: Ref) -> tuple[str, ...]:
    """List the names of revocation lists on a host."""
    reached(call, host)
    return certificates.revocations(call).names()


@message("host.certificate_sync")
def certificate_sync(call: Call, host: Ref) -> None:
    """Have a host read its certificates again: each use reads them."""
    reached(call, host)


@message("host.install_ca_certificate")
def install_ca_certificate(call: Call, host: Ref, name: str, cert: str) -> None:
    """Put a certificate into a host's files.  Errors: those of pool.install_ca_certificate."""
    reached(call, host)
    certificates.add_ca_certificate(call, name, cert)


@message("host.uninstall_ca_certificate")
def uninstall_ca_certificate(call: Call, host: Ref, name: str, force: bool) -> None:
    """Remove a certificate from a host's files.  Errors: as in the pool's message."""
    reached(call, host)
    certificates.remove_ca_certificate(call, name, force=force)


@message("host.certificate_install")
def certificate_install(call: Call, host: Ref, name: str, cert: str) -> None:
    """Do as ``install_ca_certificate``: the older name."""
    install_ca_certificate(call, host, name, cert)


@message("host.certificate_uninstall")
def certificate_uninstall(call: Call, host: Ref, name: str) -> None:
    """Do as ``uninstall_ca_certificate``: the older name."""
    uninstall_ca_certificate(call, host, name, False)


@message("host.crl_install")
def crl_install(call: Call, host: Ref, name: str, crl: str) -> None:
    """Put a revocation list into a host's files.  Errors: those of pool.crl_install."""
    reached(call, host)
    certificates.crl_install(call, name, crl)


@message("host.crl_uninstall")
def crl_uninstall(call: Call, host: Ref, name: str) -> None:
    """Remove a revocation list from a host's files.  Errors: those of pool.crl_uninstall."""
    reached(call, host)
    certificates.crl_uninstall(call, name)
