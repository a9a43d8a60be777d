"""xe when things go wrong: interrupted, cut off, disks full, certificates, terminals."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ocaml_compat import thin_cli
from ocaml_compat.thin_cli import HttpGet, HttpPut, PrintError
from tests.integration.running_pool import eventually
from tests.integration.xe_program import Scripted, Xe

pytestmark = pytest.mark.integration


@pytest.fixture
def host(shared_server):
    return shared_server.host()


@pytest.fixture
def local(tmp_path, host):
    return Xe(tmp_path, XE_SOCKET=host.socket)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130)]
)
def test_an_interrupted_download_leaves_no_file(tmp_path, number, status):
    frames = [thin_cli.encode(HttpGet("got", "/file"))]
    with Scripted(frames, body=b"half", stalls=True) as server:
        running = Xe(tmp_path).start("-p", str(server.port), "x", "filename=got")
        eventually(lambda: (tmp_path / "got").exists(), "the download has begun")
        eventually(lambda: (tmp_path / "got").stat().st_size == 4, "half of it is there")
        running.send_signal(number)
        _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (status, "Interrupted\n")
    assert not (tmp_path / "got").exists()


def test_an_interrupted_wait(local):
    running = local.start("event-wait", "class=vm", "name-label=never")
    time.sleep(0.5)  # whenever it comes, the outcome is the same
    running.send_signal(signal.SIGINT)
    out, said = running.communicate(timeout=30)
    assert (running.returncode, out, said) == (130, "", "Interrupted\n")


def test_a_server_that_dies_during_an_upload(tmp_path):
    (tmp_path / "big").write_bytes(bytes(8 << 20))
    with Scripted([thin_cli.encode(HttpPut("big", "/file"))], b"some", takes=True) as server:
        done = Xe(tmp_path).run("-p", str(server.port), "x", "filename=big")
    assert done.returncode == 1
    assert done.stderr == "The connection to the server was lost\n"


def test_an_upload_of_a_file_that_is_not_there(local):
    done = local.run("vm-import", "filename=nosuch")
    assert done.returncode == 1
    assert "No such file or directory: nosuch" in done.stderr


def test_a_full_disk_below_standard_output(local):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xe", "help"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=local.environment,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts need root")
def test_a_full_file_system_keeps_no_partial_file(local):
    """On a tmpfs of 64 KiB the database does not fit."""
    (local.folder / "small").mkdir()
    script = (
        "mount -t tmpfs -o size=64k none small && cd small && "
        f"{sys.executable} -m xe pool-dump-database file-name=db; status=$?; ls; exit $status"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=local.environment,
        cwd=local.folder,
        timeout=60,
    )
    if "mount:" in done.stderr:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No space left on device" in done.stderr


def test_readers_that_leave_early_are_no_error_to_talk_about(local):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m xe help --all | head -1"],
        capture_output=True,
        text=True,
        env=local.environment,
        timeout=60,
    )
    assert done.stdout == "Usage:\n" or done.stdout.startswith("Usage: xe")
    assert done.stderr == ""


def tls(host, *more: str) -> tuple[str, ...]:
    return ("-s", "localhost", "-p", str(host.https), "-u", host.user, "-pw", host.password, *more)


def test_certificates_are_checked_as_asked(tmp_path, host):
    xe = Xe(tmp_path)
    fetched = xe.run(*tls(host, "host-get-server-certificate"))
    assert fetched.returncode == 0
    (tmp_path / "ca.pem").write_text(fetched.stdout)
    listed = xe.run(*tls(host, "--ca-file", "ca.pem", "host-list", "--minimal"))
    assert (listed.returncode, listed.stderr) == (0, "")
    (tmp_path / ".xe").write_text("cafile=ca.pem\n")
    assert xe.run(*tls(host, "host-list", "--minimal")).returncode == 0
    (tmp_path / ".xe").unlink()
    for words, said in (
        (("--verify-certificate",), "is not trusted: "),
        (("--ca-file", "nosuch"), "nosuch"),
        (("--ca-file", "/etc/passwd"), "/etc/passwd"),
    ):
        done = xe.run(*tls(host, *words, "host-list"))
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_tls_and_plain_in_the_wrong_place(tmp_path, host):
    xe = Xe(tmp_path)
    login = ("-u", host.user, "-pw", host.password, "host-list")
    for way in (
        ("-s", "localhost", "-p", str(host.http)),
        ("-s", "localhost", "-p", str(host.https), "--nossl"),
    ):
        done = xe.run(*way, *login)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr
        assert "Traceback" not in done.stderr
    assert xe.run(*tls(host, "--ciphersuites", "NOSUCH", "host-list")).returncode == 1
    assert xe.run(*tls(host, "--allow-ssl-legacy", "host-list", "--minimal")).returncode == 0


def test_failures_of_the_client_come_in_the_form_asked_for(tmp_path):
    done = Xe(tmp_path).run("-s", "127.0.0.1", "-p", "1", "vm-list", "--output", "json")
    assert done.returncode == 1
    found = json.loads(done.stderr)
    assert found["error"] == "CLIENT_FAILURE"
    assert "Cannot connect to 127.0.0.1 port 1" in found["message"]


class OnTerminal:
    """A program whose terminal this is."""

    def __init__(self, words: list[str], environment: dict[str, str], folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder
        )
        os.close(theirs)
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, seen: Callable[[str], object], what: str) -> None:
        end = time.monotonic() + 30
        while not seen(self.text):
            assert time.monotonic() < end, f"{what}: {self.text!r}"
            if select.select([self._ours], [], [], 0.5)[0]:
                try:
                    self.text += os.read(self._ours, 65536).decode(errors="replace")
                except OSError:  # the program has ended
                    assert seen(self.text), f"{what}: {self.text!r}"
                    return

    def end(self) -> int:
        while select.select([self._ours], [], [], 30)[0]:
            try:
                self.text += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # nobody has the terminal any more
                break
        os.close(self._ours)
        return self.process.wait(30)


def on_terminal(xe: Xe, *words: str) -> OnTerminal:
    return OnTerminal([sys.executable, "-m", "xe", *words], xe.environment, xe.folder)


def test_a_bar_shows_transfers_on_a_terminal_and_nowhere_else(local):
    vm = local.run("vm-install", "template=Other install media", "new-name-label=bar")
    uuid = vm.stdout.strip()
    disk = local.run("vm-disk-add", f"uuid={uuid}", "disk-size=64MiB", "device=0")
    assert disk.returncode == 0
    vdi = local.run("vbd-list", f"vm-uuid={uuid}", "params=vdi-uuid", "--minimal").stdout.strip()
    shown = on_terminal(local, "vdi-export", f"uuid={vdi}", "filename=disk")
    assert shown.end() == 0
    assert re.search(r"\rdisk \[#+\s*\] +\d+%", shown.text), shown.text
    assert "Export succeeded" in shown.text
    quiet = local.run("vdi-import", f"uuid={vdi}", "filename=disk")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert local.run("vm-uninstall", f"uuid={uuid}", "--force").returncode == 0


def test_passwords_are_asked_for_on_a_terminal(tmp_path, host):
    words = ["-s", "127.0.0.1", "-p", str(host.http), "-u", host.user, "pool-list", "--minimal"]
    asked = on_terminal(Xe(tmp_path), *words)
    asked.until(lambda text: "Password: " in text, "it asks")
    asked.type(f"{host.password}\n")
    assert asked.end() == 0
    assert host.password not in asked.text
    assert re.search(r"[0-9a-f]{8}-", asked.text)


def test_files_with_passwords_that_others_can_read_are_named(tmp_path, host):
    secret = tmp_path / "pw"
    secret.write_text(f"{host.user}\n{host.password}\n")
    words = ("-p", str(host.http), "-pwf", "pw", "pool-list", "--minimal")
    for mode, named in ((0o644, True), (0o600, False)):
        secret.chmod(mode)
        shown = on_terminal(Xe(tmp_path), *words)
        assert shown.end() == 0
        assert ("other users can read pw" in shown.text) is named
        assert Xe(tmp_path).run(*words).stderr == ""
    secret.write_text("root\n")
    done = Xe(tmp_path).run(*words)
    assert done.returncode == 1
    assert "user on line 1 and the password on line 2" in done.stderr


def test_help_on_a_terminal_is_by_topic(local):
    shown = on_terminal(local, "help")
    assert shown.end() == 0
    assert "Virtual machines\r\n" in shown.text
    assert "Virtual machines" not in local.run("help").stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_tab_key_completes_in_bash(local):
    """In a real, interactive shell: commands, parameters, and values with blanks."""
    (local.folder / "bin").mkdir()
    program = local.folder / "bin" / "xe"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m xe "$@"\n')
    program.chmod(0o755)
    made = local.run("network-create", "name-label=tab net")
    assert made.returncode == 0
    environment = local.environment | {"TERM": "dumb", "PS1": "ready> "}
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    words = ["bash", "--norc", "--noprofile", "-i"]
    shell = OnTerminal(words, environment, local.folder)
    shell.type("bind 'set bell-style none'; source <(xe --completion); echo set-up\n")
    shell.until(lambda text: "\nset-up" in text, "the completion is loaded")
    shell.type("xe network-par\t")
    shell.until(lambda text: "xe network-param-" in text, "a part that all share")
    shell.type("get uuid=\t")
    shell.until(lambda text: "uuid=" in text, "values")
    shell.type("\x15xe pool-list para\t")
    shell.until(lambda text: "pool-list params=" in text, "a parameter")
    shell.type("name-lab\t")
    shell.until(lambda text: "params=name-label" in text, "a field")
    shell.type("\x7f,mast\t")
    shell.until(lambda text: ",master " in text, "one more field")
    shell.type("\x7f --minimal; echo status=$?\n")
    shell.until(lambda text: "status=0" in text, "the completed line works")
    shell.type("exit\n")
    shell.end()
    assert local.run("network-destroy", f"uuid={made.stdout.strip()}").returncode == 0


def test_hints_of_the_server_reach_standard_error(tmp_path):
    frames = [thin_cli.encode(PrintError("told\n")), thin_cli.encode(thin_cli.Exit(7))]
    with Scripted(frames) as server:
        done = Xe(tmp_path).run("-p", str(server.port), "x")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "told\n")
