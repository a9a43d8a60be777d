"""Certificates and revocation lists as files of a host, and what they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

SERVER_CERTIFICATE = "xapi-ssl.pem"
"""Key and certificate of the server, in the host's state folder."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What class Certificate records: moments in unix seconds, prints in hex pairs."""

    not_before: int
    not_after: int
    fingerprint_sha256: str
    fingerprint_sha1: str

    def fields(self) -> dict[str, object]:
        """Give the fields of a Certificate row."""
        return {
            "not_before": self.not_before,
            "not_after": self.not_after,
            "fingerprint": self.fingerprint_sha256,
            "fingerprint_sha256": self.fingerprint_sha256,
            "fingerprint_sha1": self.fingerprint_sha1,
        }


def facts_of(pem: str) -> CertificateFacts:
    """Read the first certificate of a text.  Errors: ValueError."""
    certificate = x509.load_pem_x509_certificate(_certificate_text(pem).encode())
    return CertificateFacts(
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        certificate.fingerprint(hashes.SHA1()).hex(":").upper(),  # noqa: S303 - shown, not trusted
    )


def _certificate_text(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start, stop = pem.find(begin), pem.find(end)
    if start < 0 or stop < start:
        raise ValueError("no certificate in this text")
    return pem[start : stop + len(end)] + "\n"


def server_certificate(state: Path) -> str:
    """Give the server's certificate without its key.

    Errors: FileNotFoundError where no certificate was made, ValueError.
    """
    return _certificate_text((state / SERVER_CERTIFICATE).read_text(encoding="ascii"))


def is_revocation_list(pem: str) -> bool:
    """Tell whether a text is a revocation list."""
    try:
        x509.load_pem_x509_crl(pem.encode()).public_bytes(Encoding.DER)
    except ValueError:
        return False
    return True


class PemFolder:
    """Files of one kind by plain names that end in ``.pem``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> tuple[str, ...]:
        """List the names, sorted."""
        return tuple(sorted(p.name for p in self._folder.glob("*.pem")))

    def has(self, name: str) -> bool:
        """Tell whether a file of that name is there."""
        return (self._folder / name).is_file()

    def write(self, name: str, text: str) -> None:
        """Write a file, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{name}.new"
        partial.write_text(text, encoding="utf-8")
        partial.rename(self._folder / name)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        (self._folder / name).unlink(missing_ok=True)

    def contents(self) -> Mapping[str, str]:
        """Map names to texts."""
        return {name: (self._folder / name).read_text(encoding="utf-8") for name in self.names()}


def is_plain_name(name: str) -> bool:
    """Tell whether a name may be a file of a PemFolder."""
    return (
        name.endswith(".pem") and "/" not in name and "\0" not in name and not name.startswith(".")
    )
