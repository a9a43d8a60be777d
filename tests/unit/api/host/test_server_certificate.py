"""The certificate a host presents: from outside, made anew, and what is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.unit.api.server import Server

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "xen1")])


def pem_of(key: object) -> str:
    return key.private_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def certificate(server: Server, begins: int = -1, days: int = 10, digest: object = None) -> str:
    now = datetime.fromtimestamp(server.clock.seconds(), UTC)
    builder = x509.CertificateBuilder(
        issuer_name=NAME,
        subject_name=NAME,
        public_key=KEY.public_key(),
        serial_number=7,
        not_valid_before=now + timedelta(days=begins),
        not_valid_after=now + timedelta(days=begins + days),
    )
    signed = builder.sign(KEY, digest or hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest_twisted.ensureDeferred
async def test_a_certificate_from_outside_is_presented_and_recorded(server: Server) -> None:
    session, reloads = server.login(), []
    server.toolstack.certificate_changed = lambda: reloads.append(1)
    text = certificate(server)
    install = ("host.install_server_certificate", session, server.this_host, text, pem_of(KEY))
    await server.send(*install, text)
    kept = server.toolstack.settings.state / "xapi-ssl.pem"
    assert kept.read_text() == pem_of(KEY) + text + text
    assert kept.stat().st_mode & 0o777 == 0o600
    assert reloads == [1]
    assert server.call("host.get_server_certificate", session, server.this_host) == text
    assert {row.type for row in server.db.rows("Certificate")} == {"host", "host_internal"}


@pytest_twisted.ensureDeferred
async def test_a_reset_makes_another_certificate(server: Server) -> None:
    session, host = server.login(), server.this_host
    await server.send("host.reset_server_certificate", session, host)
    first = server.call("host.get_server_certificate", session, host)
    await server.send("host.emergency_reset_server_certificate", session)
    second = server.call("host.get_server_certificate", session, host)
    names = x509.load_pem_x509_certificate(second.encode()).subject
    assert first != second and "host-1" in names.rfc4514_string()
    assert server.db.count("Certificate") == 2


def test_what_cannot_be_presented_is_refused_and_changes_nothing(server: Server) -> None:
    session, good, key = server.login(), certificate(server), pem_of(KEY)

    def refusal(text: str, key: str, chain: str = "") -> list[str]:
        call = ("host.install_server_certificate", session, server.this_host, text, key, chain)
        return server.refusal(*call)

    assert refusal(good, "no key") == ["SERVER_CERTIFICATE_KEY_INVALID"]
    curve = pem_of(ec.generate_private_key(ec.SECP256R1()))
    assert refusal(good, curve) == [
        "SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED",
        "1.2.840.10045.2.1",
    ]
    short = pem_of(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    assert refusal(good, short) == ["SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED", "1024"]
    assert refusal("rubbish", key) == ["SERVER_CERTIFICATE_INVALID"]
    other = pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert refusal(good, other) == ["SERVER_CERTIFICATE_KEY_MISMATCH"]
    assert refusal(certificate(server, 1), key)[0] == "SERVER_CERTIFICATE_NOT_VALID_YET"
    assert refusal(certificate(server, -20), key)[0] == "SERVER_CERTIFICATE_EXPIRED"
    weak = certificate(server, digest=hashes.SHA384())
    assert refusal(weak, key) == ["SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED"]
    assert refusal(good, key, "rubbish") == ["SERVER_CERTIFICATE_CHAIN_INVALID"]
    assert not (server.toolstack.settings.state / "xapi-ssl.pem").exists()
    lines = "".join(server.toolstack.audit.lines())
    assert "host.install_server_certificate" in lines and "PRIVATE KEY" not in lines


def test_members_put_certificates_into_a_hosts_files(server: Server) -> None:
    pool = server.call("session.slave_login", server.this_host, "a/b/c")
    host, text = server.this_host, certificate(server)
    server.call("host.install_ca_certificate", pool, host, "a.pem", text)
    assert server.call("host.certificate_list", pool, host) == ["a.pem"]
    assert server.db.count("Certificate") == 0
    again = server.refusal("host.install_ca_certificate", pool, host, "a.pem", text)
    assert again == ["CERTIFICATE_ALREADY_EXISTS", "a.pem"]
    server.call("host.uninstall_ca_certificate", pool, host, "a.pem", False)
    assert server.call("host.certificate_list", pool, host) == []
    refused = server.refusal("host.crl_install", pool, host, "a.pem", "no list")
    assert refused == ["CRL_CORRUPT", "a.pem"]
