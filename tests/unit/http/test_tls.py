"""The self-signed certificate and what a client of 2017 can negotiate."""

import contextlib
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from xapi_py.http.tls import TlsSettings
from xapi_py.pool.server_certificate import ensure_certificate

NAMES = ["xen1.example.org", "192.0.2.1", "2001:db8::1", "localhost"]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_certificate(tmp_path_factory.mktemp("tls") / "sub" / "xapi.pem", NAMES)


def test_the_certificate_names_the_host(pem: Path) -> None:
    certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(n.value) for n in names] == NAMES
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert certificate.not_valid_before_utc < datetime.now(UTC) < certificate.not_valid_after_utc


def test_the_certificate_is_kept_and_private(pem: Path) -> None:
    before = pem.read_bytes()
    ensure_certificate(pem, ["other.example.org"])
    assert pem.read_bytes() == before
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600
    assert [p.name for p in pem.parent.iterdir()] == [pem.name]


def handshake(
    server: TlsSettings, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLObject:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(incoming, outgoing, session=session)
    ours = SSL.Connection(server.getContext(), None)
    ours.set_accept_state()
    done = False
    for _ in range(10):
        try:
            theirs.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        if outgoing.pending:
            ours.bio_write(outgoing.read())
        with contextlib.suppress(SSL.WantReadError):
            ours.do_handshake()
        try:
            incoming.write(ours.bio_read(65536))
        except SSL.WantReadError:
            if done:
                break
    assert done
    with contextlib.suppress(ssl.SSLWantReadError):
        theirs.read(1)
    return theirs


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    "cipher",
    ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-SHA", "AES128-SHA", "AES256-GCM-SHA384"],
)
def test_a_windows_client_of_2017_can_connect(pem: Path, cipher: str) -> None:
    client = client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(cipher)
    connection = handshake(TlsSettings(pem), client)
    found = connection.cipher()
    assert found is not None
    assert (found[0], connection.version()) == (cipher, "TLSv1.2")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions_before_1_2_are_refused(pem: Path) -> None:
    client = client_context()
    client.minimum_version = ssl.TLSVersion.TLSv1_1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((SSL.Error, ssl.SSLError)):
        handshake(TlsSettings(pem), client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_returning_client_resumes_its_session(pem: Path, version: ssl.TLSVersion) -> None:
    server = TlsSettings(pem)
    client = client_context()
    client.minimum_version = client.maximum_version = version
    first = handshake(server, client)
    assert not first.session_reused
    assert handshake(server, client, first.session).session_reused
