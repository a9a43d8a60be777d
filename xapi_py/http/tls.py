"""The TLS settings of the server."""

from pathlib import Path
from typing import Final

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer  # type: ignore[import-untyped]

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
