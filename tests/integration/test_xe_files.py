"""xe: saved databases, backups, reports, consoles and other pools; on pools of their own."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.integration.running_pool import eventually, running
from tests.integration.test_xe_mishaps import on_terminal
from tests.integration.xe_program import Xe

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pool():
    with running("--profile", "newest") as pool:
        yield pool.start()


@pytest.fixture
def xe(pool, tmp_path):
    return Xe(tmp_path, XE_SOCKET=pool.host().socket)


def must(xe: Xe, *words: str) -> str:
    done = xe.run(*words)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


def test_saved_databases_are_read_and_vms_recovered(xe):
    vm = must(xe, "vm-install", "template=Debian Bookworm 12", "new-name-label=lost")
    must(xe, "pool-dump-database", "file-name=db")
    saved = f"database:filename={xe.folder / 'db'}"
    must(xe, "vm-destroy", f"uuid={vm}")
    assert must(xe, "vm-list", "name-label=lost", "--minimal") == ""
    assert must(xe, "vm-list", "name-label=lost", "--minimal", saved) == vm
    assert "lost" in must(xe, "vm-param-list", f"uuid={vm}", saved)
    assert must(xe, "vm-param-get", f"uuid={vm}", "param-name=name-label", saved) == "lost"
    must(xe, "vm-assert-can-be-recovered", f"uuid={vm}", saved)
    must(xe, "vm-recover", f"uuid={vm}", saved)
    must(xe, "vm-start", f"uuid={vm}")
    must(xe, "vm-uninstall", f"uuid={vm}", "--force")


def test_files_that_are_no_database(xe):
    (xe.folder / "note").write_text("no database")
    for name, said in (("note", "is no database"), ("nosuch", "No such file or directory")):
        done = xe.run("vm-list", f"database:filename={xe.folder / name}")
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    disk = must(xe, "vdi-list", "--minimal").split(",")[0]
    done = xe.run("vm-list", f"database:vdi-uuid={disk}")
    assert (done.returncode, done.stdout) == (1, "")


def test_status_reports_and_logs(xe):
    secret = must(xe, "secret-create", "value=never-shown")
    must(xe, "host-get-system-status", "filename=all.tar.bz2")
    with tarfile.open(xe.folder / "all.tar.bz2") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        members = [archive.extractfile(m) for m in archive.getmembers()]
        whole = b"".join(m.read() for m in members if m is not None)
    assert {"xenserver-config/host.json", "xenserver-databases/state.xml"} <= names
    assert {"xenserver-logs/xapi-recent.log", "network-status/interfaces.json"} <= names
    assert b"never-shown" not in whole
    words = ("entries=xenserver-config", "output=zip", "filename=some.zip")
    must(xe, "host-get-system-status", *words)
    with zipfile.ZipFile(xe.folder / "some.zip") as archive:
        (name,) = archive.namelist()
        assert name.endswith("/xenserver-config/host.json")
    done = xe.run("host-get-system-status", "filename=x", "output=rar")
    assert (done.returncode, (xe.folder / "x").exists()) == (1, False)
    must(xe, "host-logs-download", "file-name=logs.tgz")
    with tarfile.open(xe.folder / "logs.tgz") as archive:
        assert any(name.endswith("audit.log") for name in archive.getnames())
    must(xe, "secret-destroy", f"uuid={secret}")


def test_a_host_comes_back_from_its_backup(xe):
    must(xe, "host-backup", "file-name=backup")
    assert (xe.folder / "backup").stat().st_mode & 0o777 == 0o600
    later = must(xe, "network-create", "name-label=later")
    (xe.folder / "junk").write_bytes(os.urandom(5000))
    done = xe.run("host-restore", "file-name=junk")
    assert done.returncode == 1
    assert "no backup of a host" in done.stderr
    assert must(xe, "network-list", f"uuid={later}", "--minimal") == later
    must(xe, "host-restore", "file-name=backup")

    def restored() -> bool:
        done = xe.run("network-list", "--minimal")
        return done.returncode == 0 and later not in done.stdout

    eventually(restored, "the server is back with its old database")


def test_the_control_domain_has_consoles(xe):
    dom0 = must(xe, "vm-list", "is-control-domain=true", "--minimal")
    console = on_terminal(xe, "console", f"uuid={dom0}")
    console.until(lambda text: "login:" in text, "the console greets")
    console.type("\x1d")
    assert console.end() == 0


def test_moving_to_another_pool_ends_with_that_pools_answer(xe, shared_server):
    vm = must(xe, "vm-install", "template=Debian Bookworm 12", "new-name-label=mover")
    there = shared_server.host()
    login = (f"remote-username={there.user}", f"remote-password={there.password}")
    master = f"remote-master=localhost:{there.https}"
    for words, said in (
        ((master, *login), "takes no guests from other pools yet"),
        ((master, *login, "host=nosuch"), "Host nosuch not found in the other pool"),
        ((master, *login, "remote-network=nosuch"), "Network nosuch not found"),
        ((master, *login, "vdi:nosuch=x"), "There is no object with this uuid."),
        ((master, login[0], "remote-password=wrong"), "The user name or the password is wrong."),
        ((master, login[0]), "Required parameter not found: remote-password"),
        (("remote-master=localhost:1", *login), "Cannot reach the pool at localhost:1"),
        ((), "Give the host to move to"),
    ):
        done = xe.run("vm-migrate", "vm=mover", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    must(xe, "vm-uninstall", f"uuid={vm}", "--force")


def test_paths_of_files_are_taken_as_typed(xe):
    """Relative, absolute, with blanks and other letters."""
    (xe.folder / "a b").mkdir()
    for name in ("a b/übung.db", str(Path(xe.folder) / "absolute")):
        must(xe, "pool-dump-database", f"file-name={name}")
        assert (xe.folder / name).stat().st_size > 1000
