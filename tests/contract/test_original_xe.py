"""The original xe against our server, unchanged: every way in, transfers, questions, consoles.

The program is not part of the project; it is given with ``--xe-original``.
"""

import os
import pty
import select
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.running_pool import running
from xapi_py.cli.table import load_tables

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Original:
    """Runs the original client in a folder of its own, over TCP or TLS."""

    def __init__(self, program: str, folder: Path, host, tls: bool) -> None:
        server = ["-s", "localhost" if tls else "127.0.0.1"]
        port = ["-p", str(host.https if tls else host.http)]
        self.words = [program, *server, *port, "-u", host.user, "-pw", host.password]
        self.folder = folder

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words],
            capture_output=True,
            text=True,
            input=typed,
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
            timeout=60,
        )

    def must(self, line: str) -> str:
        done = self.run(*shlex.split(line))
        assert done.returncode == 0, (line, done.stderr)
        return done.stdout.strip()


@pytest.fixture(scope="module")
def program(request):
    found = request.config.getoption("--xe-original")
    if not found:
        pytest.skip("no original client: give it with --xe-original")
    return str(Path(found).resolve())


@pytest.fixture(scope="module", params=["newest", "7.1"])
def pool(program, request):
    with running("--profile", request.param) as pool:
        pool.start()
        pool.profile = request.param
        yield pool


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def xe(program, pool, request, tmp_path):
    return Original(program, tmp_path, pool.host(), request.param)


def test_every_list_prints_what_our_client_prints(xe, pool):
    for record in load_tables(pool.profile).records.values():
        done = xe.run(f"{record.prefix}-list", "params=all")
        assert (done.returncode, done.stderr) == (0, ""), record.prefix


def test_errors_and_statuses(xe):
    for line, out, err in (
        ("nosuch", "", "Unknown command: nosuch\nFor usage run: 'xe help'\n"),
        ("vm-start vm=nobody", "", "Error: No matching VMs found\n"),
        ("vm-param-get uuid=x", "", "Required parameter not found: param-name\n"),
        ("vm-param-get uuid=x param-name=y", "", "There is no object with this uuid."),
    ):
        done = xe.run(*line.split())
        assert (done.returncode, done.stdout) == (1, out)
        assert done.stderr.startswith(err)
    assert xe.run("help").stdout.startswith("Usage:")


def test_a_wrong_password(xe):
    xe.words[-1] = "wrong"
    done = xe.run("vm-list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Authentication failed\n")


def test_files_travel_both_ways(xe):
    vm = xe.must('vm-install template="Other install media" new-name-label=old')
    xe.must(f"vm-disk-add uuid={vm} disk-size=16MiB device=0")
    assert xe.must(f"vm-export uuid={vm} filename=vm.xva") == "Export succeeded"
    copy = xe.must("vm-import filename=vm.xva")
    vdi = xe.must(f"vbd-list vm-uuid={copy} params=vdi-uuid --minimal")
    xe.must(f"vdi-export uuid={vdi} filename=disk")
    assert (xe.folder / "disk").stat().st_size == 16 << 20
    xe.must(f"vdi-import uuid={vdi} filename=disk")
    xe.must("pool-dump-database file-name=db")
    xe.must("pool-restore-database file-name=db dry-run=true")
    xe.must("host-get-system-status filename=status output=tar")
    done = xe.run("vm-export", f"uuid={vm}", "filename=vm.xva")
    assert done.returncode == 1
    assert "File exists" in done.stderr
    done = xe.run("vm-import", "filename=disk")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr
    xe.must("vm-uninstall vm=old --multiple --force")


def test_questions_and_loaded_files(xe):
    host = xe.must("host-list --minimal")
    done = xe.run("host-forget", f"uuid={host}", typed="perhaps\n")
    assert (done.returncode, done.stdout.split("\n")[-2]) == (0, "Aborted (you typed: 'perhaps')")
    (xe.folder / "note").write_text("no certificate")
    done = xe.run("pool-certificate-install", "filename=note")
    assert done.returncode == 1
    assert "CERTIFICATE" in done.stderr or "certificate" in done.stderr


def test_a_text_console(xe, pool):
    if xe.words[2] != "127.0.0.1":
        pytest.skip("the original takes the port of the command line, not that of a location")
    dom0 = xe.must("vm-list is-control-domain=true --minimal")
    ours, theirs = pty.openpty()
    console = subprocess.Popen(
        [*xe.words, "console", f"uuid={dom0}"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen, end = b"", time.monotonic() + 30
    while b"login:" not in seen:
        assert time.monotonic() < end, seen
        if select.select([ours], [], [], 0.5)[0]:
            seen += os.read(ours, 4096)
    os.write(ours, b"\x1d")
    assert console.wait(30) == 0
    os.close(ours)
