"""The certificate a host presents to clients."""

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
