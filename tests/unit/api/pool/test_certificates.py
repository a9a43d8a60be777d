from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.api.server import Server


def certificate(server: Server, begins_days: int = -1, days: int = 10) -> str:
    now = datetime.fromtimestamp(server.clock.seconds(), UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=now + timedelta(days=begins_days),
        not_valid_after=now + timedelta(days=begins_days + days),
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def session(server: Server) -> str:
    return server.login()


def test_trusted_certificate_is_listed_until_removed(server: Server, session: str) -> None:
    server.call("pool.install_ca_certificate", session, "a.pem", certificate(server))
    assert server.call("pool.certificate_list", session) == ["a.pem"]
    (row,) = server.db.rows("Certificate")
    assert (row.name, row.type, len(row.fingerprint_sha256)) == ("a.pem", "ca", 95)
    server.call("pool.uninstall_ca_certificate", session, "a.pem", False)
    assert server.call("pool.certificate_list", session) == []
    assert server.db.count("Certificate") == 0


def test_certificate_is_checked_before_its_name(server: Server, session: str) -> None:
    install = ("pool.install_ca_certificate", session)
    assert server.refusal(*install, "bad name/", "x") == ["CA_CERTIFICATE_INVALID"]
    good = certificate(server)
    assert server.refusal(*install, "a/b.pem", good) == ["CERTIFICATE_NAME_INVALID", "a/b.pem"]
    assert server.refusal(*install, "nosuffix", good) == ["CERTIFICATE_NAME_INVALID", "nosuffix"]
    server.call(*install, "a.pem", good)
    assert server.refusal(*install, "a.pem", good) == ["CERTIFICATE_ALREADY_EXISTS", "a.pem"]


@pytest.mark.parametrize(
    ("begins_days", "code"), [(-20, "CA_CERTIFICATE_EXPIRED"), (5, "CA_CERTIFICATE_NOT_VALID_YET")]
)
def test_certificate_must_be_valid_now(
    server: Server, session: str, begins_days: int, code: str
) -> None:
    text = certificate(server, begins_days)
    assert server.refusal("pool.install_ca_certificate", session, "a.pem", text) == [code]


def test_removing_names_what_is_missing(server: Server, session: str) -> None:
    remove = ("pool.uninstall_ca_certificate", session)
    assert server.refusal(*remove, "nosuch", False) == ["CERTIFICATE_NAME_INVALID", "nosuch"]
    assert server.refusal(*remove, "no.pem", False) == ["CERTIFICATE_DOES_NOT_EXIST", "no.pem"]
    server.call(*remove, "no.pem", True)


def test_revocation_list_is_checked(server: Server, session: str) -> None:
    install = ("pool.crl_install", session)
    assert server.refusal(*install, "c", "x") == ["CRL_NAME_INVALID", "c"]
    assert server.refusal(*install, "c.pem", "x") == ["CRL_CORRUPT", "c.pem"]
    assert server.refusal("pool.crl_uninstall", session, "c.pem") == ["CRL_DOES_NOT_EXIST", "c.pem"]
    assert server.call("pool.crl_list", session) == []


def test_trusted_certificate_is_known_by_its_fingerprint(server: Server, session: str) -> None:
    text = certificate(server)
    install = ("pool.install_trusted_certificate", session, server.this_pool, True, text, ["ldaps"])
    server.call(*install)
    (row,) = server.db.rows("Certificate")
    assert server.refusal(*install) == [
        "TRUSTED_CERTIFICATE_ALREADY_EXISTS",
        row.fingerprint_sha256,
    ]
    server.call("pool.uninstall_trusted_certificate", session, server.this_pool, row.ref)
    assert server.db.count("Certificate") == 0
