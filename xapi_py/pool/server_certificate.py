"""The certificate a server presents: made, checked, kept with its key in one file."""

import contextlib
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xapi_py.base.private_file import replace
from xapi_py.datamodel import errors as err

_VALID: Final = timedelta(days=3650)
_CLOCK_SLACK: Final = timedelta(days=1)
_RSA_BITS: Final = range(2048, 4097)
_DIGESTS: Final = (hashes.SHA256, hashes.SHA512)
_DATE: Final = "%Y%m%dT%H:%M:%SZ"


def ensure_certificate(path: Path, names: Iterable[str], now: datetime | None = None) -> Path:
    """Make a self-signed certificate with its key, unless the file is there.

    ``names`` are host names and addresses, the first one is the subject.  An
    existing file is never touched: clients remember certificates.  The file
    holds key and certificate (PEM), mode 0600, and appears whole or not at
    all.
    """
    if not path.exists():
        pem = self_signed(list(dict.fromkeys(names)), now or datetime.now(UTC))
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, pem)
    return path


def self_signed(names: list[str], now: datetime) -> bytes:
    """Make a key and a certificate that it signs; takes up to a second.

    ``names`` are host names and addresses, the first one is the subject.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names or ["localhost"])[0][:64])])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([*map(_alternative, names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _text_of(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def checked(certificate: str, key: str, chain: str, now: datetime) -> bytes:
    """Give the file of a certificate, its key and those that signed it (all PEM).

    Errors, in this order: SERVER_CERTIFICATE_KEY_INVALID,
    _KEY_ALGORITHM_NOT_SUPPORTED, _KEY_RSA_LENGTH_NOT_SUPPORTED,
    SERVER_CERTIFICATE_INVALID, _KEY_MISMATCH, _NOT_VALID_YET, _EXPIRED,
    _SIGNATURE_NOT_SUPPORTED, _CHAIN_INVALID.  Source: brief POOL 24.
    """
    private = _checked_key(key)
    try:
        leaf = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        raise err.SERVER_CERTIFICATE_INVALID() from None
    if leaf.public_key() != private.public_key():
        raise err.SERVER_CERTIFICATE_KEY_MISMATCH()
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if begin > now:
        raise err.SERVER_CERTIFICATE_NOT_VALID_YET(now.strftime(_DATE), begin.strftime(_DATE))
    if end < now:
        raise err.SERVER_CERTIFICATE_EXPIRED(now.strftime(_DATE), end.strftime(_DATE))
    if not isinstance(leaf.signature_hash_algorithm, _DIGESTS):
        raise err.SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED()
    try:
        signers = x509.load_pem_x509_certificates(chain.encode()) if chain else []
    except ValueError:
        raise err.SERVER_CERTIFICATE_CHAIN_INVALID() from None
    pem = serialization.Encoding.PEM
    return _text_of(private) + b"".join(c.public_bytes(pem) for c in (leaf, *signers))


def _checked_key(text: str) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError):
        raise err.SERVER_CERTIFICATE_KEY_INVALID() from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise err.SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED(_algorithm(key))
    if key.key_size not in _RSA_BITS:
        raise err.SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED(key.key_size)
    return key


def _algorithm(key: PrivateKeyTypes) -> str:
    """Give the object identifier of a key's algorithm, empty for an uncommon one."""
    match key:
        case ec.EllipticCurvePrivateKey():
            return "1.2.840.10045.2.1"
        case ed25519.Ed25519PrivateKey():
            return "1.3.101.112"
        case ed448.Ed448PrivateKey():
            return "1.3.101.113"
    return ""


def _text_of(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
