"""The database leaves and comes back in the form of the real toolstack."""

import urllib.error
import urllib.request

import pytest

from tests.integration.running_pool import RunningPool, eventually

pytestmark = pytest.mark.integration


def transfer(url: str, method: str = "GET", data: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def test_a_download_is_checked_restored_and_survives_a_restart(server: RunningPool) -> None:
    host = server.host()
    with host.session() as session:
        pool = session.xenapi.pool.get_all()[0]
        session.xenapi.pool.set_name_description(pool, "as it was: é & <x>")
        url = f"{host.http_url}/pool/xmldbdump?session_id={session.handle}"
        saved = transfer(url)
        session.xenapi.pool.set_name_description(pool, "changed since")
        transfer(url + "&dry_run=true", "PUT", saved)
        assert session.xenapi.pool.get_name_description(pool) == "changed since"
        transfer(url, "PUT", saved)

    def restored() -> bool:
        try:
            with server.host().session() as session:
                return bool(session.xenapi.pool.get_name_description(pool) == "as it was: é & <x>")
        except OSError:
            return False  # it is restarting

    eventually(restored, "the database is the downloaded one")
    server.restart()
    assert restored()


@pytest.mark.parametrize("damage", [b"", b"<database>", b"\x00\x01", b"<a/>"])
def test_a_damaged_upload_changes_nothing(server: RunningPool, damage: bytes) -> None:
    host = server.host()
    with host.session() as session:
        url = f"{host.http_url}/pool/xmldbdump?session_id={session.handle}"
        with pytest.raises(urllib.error.HTTPError) as caught:
            transfer(url, "PUT", damage)
        assert caught.value.code in (400, 500)
        assert session.xenapi.pool.get_all()


def test_another_hosts_database_is_refused(server: RunningPool) -> None:
    host = server.host()
    with host.session() as session:
        url = f"{host.http_url}/pool/xmldbdump?session_id={session.handle}"
        uuid = session.xenapi.host.get_uuid(session.xenapi.host.get_all()[0])
        other = transfer(url).replace(uuid.encode(), b"00000000-0000-0000-0000-00000000beef")
        with pytest.raises(urllib.error.HTTPError) as caught:
            transfer(url, "PUT", other)
        assert b"RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP" in caught.value.read()
