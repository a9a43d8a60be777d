"""The program xe as its own process: ways in, files, and everything that can go wrong."""

import os
import pty
import resource
import socket
import subprocess
import sys

import pytest

from ocaml_compat import thin_cli
from ocaml_compat.thin_cli import HttpGet
from tests.integration.running_pool import eventually
from tests.integration.xe_program import Scripted, Xe

pytestmark = pytest.mark.integration


@pytest.fixture
def host(shared_server):
    return shared_server.host()


@pytest.fixture
def local(tmp_path, host):
    return Xe(tmp_path, XE_SOCKET=host.socket)


def test_every_way_in(tmp_path, host):
    plain = ["-s", host.address, "-p", str(host.http), "-u", host.user, "-pw", host.password]
    tls = ["-s", "localhost", "-p", str(host.https), "-u", host.user, "-pw", host.password]
    for xe, login in ((Xe(tmp_path), plain), (Xe(tmp_path), tls)):
        done = xe.run(*login, "pool-list", "--minimal")
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.strip()) == 36
    unix = Xe(tmp_path, XE_SOCKET=host.socket).run("pool-list", "--minimal")
    assert len(unix.stdout.strip()) == 36


def test_password_files_and_the_environment(tmp_path, host):
    (tmp_path / "pw").write_text(f"{host.user}\n{host.password}\n")
    (tmp_path / ".xe").write_text(f"port={host.http}\n")
    xe = Xe(tmp_path, XE_EXTRA_ARGS="passwordfile=pw")
    assert xe.run("pool-list", "--minimal").returncode == 0


def test_a_wrong_password_is_refused(tmp_path, host):
    done = Xe(tmp_path).run("-p", str(host.http), "-u", "root", "-pw", "wrong", "vm-list")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["Authentication failed", "For usage run: 'xe help'"]


def test_a_certificate_that_is_not_trusted_can_be_refused(tmp_path, host):
    login = ["-s", "localhost", "-p", str(host.https), "-u", host.user, "-pw", host.password]
    done = Xe(tmp_path).run(*login, "--verify-certificate", "vm-list")
    assert done.returncode == 1
    assert "not trusted" in done.stderr


def test_nobody_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = Xe(tmp_path).run("-s", "127.0.0.1", "-p", str(port), "vm-list")
    assert done.returncode == 1
    assert f"Cannot connect to 127.0.0.1 port {port}" in done.stderr
    done = Xe(tmp_path).run("-s", "no.such.host.invalid", "vm-list")
    assert (done.returncode, done.stdout) == (1, "")


def test_usage_errors(tmp_path):
    assert Xe(tmp_path).run().returncode == 0
    done = Xe(tmp_path).run("-p", "many", "vm-list")
    assert done.returncode == 1
    assert "many is not a port" in done.stderr
    done = Xe(tmp_path).run("passwordfile=nosuch", "vm-list")
    assert done.returncode == 1


def test_files_travel_both_ways(local):
    pool = local.run("pool-list", "--minimal").stdout.strip()
    blob = local.run("blob-create", "name=note", f"pool-uuid={pool}").stdout.strip()
    (local.folder / "in").write_bytes(os.urandom(300_000))
    done = local.run("blob-put", f"uuid={blob}", "filename=in")
    assert (done.returncode, done.stderr) == (0, "")
    done = local.run("blob-get", f"uuid={blob}", "filename=out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Blob get succeeded\n", "")
    assert (local.folder / "out").read_bytes() == (local.folder / "in").read_bytes()
    assert (local.folder / "out").stat().st_mode & 0o777 == 0o600


def test_downloads_keep_files_that_are_there(local):
    (local.folder / "log").write_text("mine")
    done = local.run("audit-log-get", "filename=log")
    assert done.returncode == 1
    assert "File exists" in done.stderr
    assert (local.folder / "log").read_text() == "mine"


def test_a_full_disk_leaves_no_file(local):
    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = local.run("pool-dump-database", "file-name=db", preexec_fn=small_files_only)
    assert done.returncode == 1
    assert "Operation failed" in done.stderr
    assert not (local.folder / "db").exists()


def test_the_database_can_be_saved(local):
    assert local.run("pool-dump-database", "file-name=db").returncode == 0
    assert (local.folder / "db").read_bytes().startswith(b"<?xml")


def test_a_vm_travels_through_a_file(local):
    run = local.run
    name = "new-name-label=traveller"
    uuid = run("vm-install", "template=Other install media", name).stdout.strip()
    run("vm-disk-add", f"uuid={uuid}", "disk-size=16MiB", "device=0")
    done = run("vm-export", f"uuid={uuid}", "filename=vm.xva")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Export succeeded\n", "")
    done = run("vm-import", "filename=vm.xva")
    assert (done.returncode, done.stderr) == (0, "")
    copy = done.stdout.strip()
    assert run("vm-list", f"uuid={copy}", "params=name-label", "--minimal").stdout == "traveller\n"
    vdi = run("vbd-list", f"vm-uuid={copy}", "params=vdi-uuid", "--minimal").stdout.strip()
    assert run("vdi-export", f"uuid={vdi}", "filename=disk").returncode == 0
    assert (local.folder / "disk").stat().st_size == 16 << 20
    assert run("vdi-import", f"uuid={vdi}", "filename=disk").returncode == 0
    assert run("vm-uninstall", "vm=traveller", "--multiple", "--force").returncode == 0


def test_a_text_console_on_a_terminal(local):
    run = local.run
    uuid = run("vm-create", "name-label=texty").stdout.strip()
    run("vm-param-set", f"uuid={uuid}", "HVM-boot-policy=", "PV-bootloader=pygrub")
    assert run("vm-start", f"uuid={uuid}").returncode == 0
    ours, theirs = pty.openpty()
    console = subprocess.Popen(
        [sys.executable, "-m", "xe", "console", f"uuid={uuid}"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=local.environment,
    )
    seen = b""
    while b"login:" not in seen:
        seen += os.read(ours, 4096)

    def left() -> bool:
        os.write(ours, b"\x1d")  # the terminal may not pass on keys yet: press again
        return console.poll() is not None

    eventually(left, "the console is left")
    assert console.returncode == 0
    os.close(ours)
    os.close(theirs)
    assert run("vm-uninstall", f"uuid={uuid}", "--force").returncode == 0


def test_questions_are_asked(local):
    host = local.run("host-list", "--minimal").stdout.strip()
    done = local.run("host-forget", f"uuid={host}", typed="perhaps\n")
    assert done.returncode == 0
    assert done.stdout.endswith("Aborted (you typed: 'perhaps')\n")


def test_files_the_user_did_not_name_are_not_touched(tmp_path):
    (tmp_path / "secret").write_text("secret")
    with Scripted([thin_cli.encode(thin_cli.Load("secret"))]) as server:
        done = Xe(tmp_path).run("-p", str(server.port), "vm-list", "filename=other")
    assert done.returncode == 1
    assert "File not permitted" in done.stderr


def test_a_server_that_dies_during_a_download(tmp_path):
    with Scripted([thin_cli.encode(HttpGet("got", "/file"))], body=b"half") as server:
        done = Xe(tmp_path).run("-p", str(server.port), "x", "filename=got")
    assert done.returncode == 1
    assert done.stderr
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"nonsense that is longer than a greeting is",
        thin_cli.greeting(9, 9),
        thin_cli.greeting() + b"\xff\xff\xff\x7f",
        thin_cli.greeting() + thin_cli.encode(thin_cli.Ok()),
        thin_cli.greeting(),
        b"",
    ],
)
def test_servers_that_do_not_speak_the_protocol(tmp_path, sent):
    with Scripted([], raw=sent) as server:
        done = Xe(tmp_path).run("-p", str(server.port), "vm-list")
    assert done.returncode == 1
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_completion_asks_the_server(local):
    script = local.run("--completion").stdout
    (local.folder / "bin").mkdir()
    program = local.folder / "bin" / "xe"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m xe "$@"\n')
    program.chmod(0o755)

    def complete(line: str) -> list[str]:
        words = f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _xe_complete'
        shown = f"{script}\ncompopt() {{ :; }}\n{words}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        path = f"{program.parent}:{os.environ['PATH']}"
        environment = {**local.environment, "PATH": path}
        done = subprocess.run(
            ["bash", "-c", shown], capture_output=True, text=True, env=environment, timeout=60
        )
        assert not done.stderr
        return done.stdout.split()

    assert complete("xe vm-sta") == ["vm-start"]
    assert "new-name-label=" in complete("xe vm-clone new-")
    host = local.run("host-list", "--minimal").stdout.strip()
    assert complete("xe host-param-list uuid=") == [host]
