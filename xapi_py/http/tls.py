"""The server's certificate and its TLS settings."""

import contextlib
import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer  # type: ignore[import-untyped]

_VALID: Final = timedelta(days=3650)
_CLOCK_SLACK: Final = timedelta(days=1)

CIPHERS: Final = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
        # what Windows of 2017 offers to older .NET programs
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-RSA-AES256-SHA384",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
    )
)


def ensure_certificate(path: Path, names: Iterable[str], now: datetime | None = None) -> Path:
    """Make a self-signed certificate with its key, unless the file is there.

    ``names`` are host names and addresses, the first one is the subject.  An
    existing file is never touched: clients remember certificates.  The file
    holds key and certificate (PEM), mode 0600, and appears whole or not at
    all.
    """
    if not path.exists():
        pem = _self_signed(list(dict.fromkeys(names)), now or datetime.now(UTC))
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_private(path, pem)
    return path


def _self_signed(names: list[str], now: datetime) -> bytes:
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
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@implementer(IOpenSSLContextFactory)
class TlsSettings:
    """What ``listenSSL`` needs: TLS 1.2 and up, sessions and tickets resumed.

    Errors: OSError or SSL.Error when the PEM file cannot be used.
    """

    def __init__(self, pem: Path) -> None:
        self._pem = pem
        self._context = self._load()

    def getContext(self) -> SSL.Context:
        return self._context

    def reload(self) -> None:
        """Use what is in the file now for new connections."""
        self._context = self._load()

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_options(getattr(SSL, "OP_NO_RENEGOTIATION", 0x40000000))
        context.set_cipher_list(CIPHERS.encode())
        context.use_privatekey_file(str(self._pem))
        context.use_certificate_chain_file(str(self._pem))
        context.check_privatekey()
        context.set_session_id(b"xapi")
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        return context
