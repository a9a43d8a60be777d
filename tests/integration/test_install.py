"""scripts/install below a folder: what it places, what it restores, what it refuses.

On a real control domain: tests/system/test_xen_install.py.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.source_tree import ROOT
from xapi_py.start import local_disks
from xapi_py.start.local_disks import LocalDisks

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="scripts/install is for root"),
]
SERVICE = "etc/systemd/system/xapi-py.service"


def install(*options: str) -> "subprocess.CompletedProcess[str]":
    words = [ROOT / "scripts" / "install", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_places_its_files_and_takes_all_of_them_away(tmp_path: Path):
    before = tmp_path / "etc" / "pam.d" / "xapi"
    before.parent.mkdir(parents=True)
    before.write_text("somebody else's\n")
    assert install("--root", str(tmp_path), "--address", "192.0.2.7").returncode == 0
    placed = files(tmp_path)
    assert {SERVICE, "usr/local/bin/xe", "etc/logrotate.d/xapi-py"} <= placed
    assert "usr/local/lib/xapi-py/source/xapi_py/supervisor.py" in placed
    assert "common-auth" in before.read_text()
    assert "--address 192.0.2.7" in (tmp_path / "etc/default/xapi-py").read_text()
    assert (tmp_path / "usr/local/bin/xe").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "var/lib/xapi-py").stat().st_mode & 0o777 == 0o700
    removed = install("--root", str(tmp_path), "--remove", "--purge")
    assert removed.returncode == 0, removed.stderr
    assert files(tmp_path) == {"etc/pam.d/xapi"}
    assert before.read_text() == "somebody else's\n"
    assert not (tmp_path / "var/lib/xapi-py").exists()


def test_a_second_installation_keeps_the_owners_options(tmp_path: Path):
    install("--root", str(tmp_path))
    options = tmp_path / "etc/default/xapi-py"
    options.write_text('XAPI_OPTIONS="--address 192.0.2.9"\n')
    (tmp_path / SERVICE).write_text("damaged")
    assert install("--root", str(tmp_path)).returncode == 0
    assert options.read_text() == 'XAPI_OPTIONS="--address 192.0.2.9"\n'
    assert "ExecStart=" in (tmp_path / SERVICE).read_text()
    assert not list(tmp_path.rglob("*.before-xapi-py"))


def test_disks_for_local_storage_are_noted_for_the_first_start(tmp_path: Path):
    named = "/dev/disk/by-id/one,/dev/sdb"
    assert install("--root", str(tmp_path), "--storage", named).returncode == 0
    noted = local_disks.noted("lvm", tmp_path / "etc/firstboot.d/data/default-storage.conf")
    assert noted == LocalDisks(("/dev/disk/by-id/one", "/dev/sdb"), "lvm")
    assert (tmp_path / "opt/xensource/packages/iso").is_dir()
    assert install("--root", str(tmp_path), "--remove", "--purge").returncode == 0
    assert not files(tmp_path)
    assert not (tmp_path / "opt/xensource").exists()


@pytest.mark.parametrize("named", ["sdb", "/dev/sdb /dev/sdc", "/dev/sdb,", "/etc/passwd"])
def test_what_is_no_device_is_no_storage(tmp_path: Path, named: str):
    refused = install("--root", str(tmp_path), "--storage", named)
    assert (refused.returncode, "--storage takes devices" in refused.stderr) == (1, True)
    assert not files(tmp_path)


def test_removing_without_purge_keeps_the_state(tmp_path: Path):
    install("--root", str(tmp_path))
    kept = tmp_path / "var/lib/xapi-py/kept"
    kept.write_text("x")
    install("--root", str(tmp_path), "--remove")
    assert files(tmp_path) == {"var/lib/xapi-py/kept"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--bogus"], "unknown option --bogus"),
        (["--profile", "9"], "--profile is 7.1 or newest"),
        (["--address"], "--address needs a value"),
        (["--address", "$(reboot)"], "is no address"),
        (["--root", "/nowhere"], "/nowhere is no folder"),
        (["--purge"], "--purge goes with --remove"),
        (["--remove", "--root", "/usr/share"], "not installed here"),
        (["--no-packages"], "no control domain of Xen"),
    ],
)
def test_bad_requests_are_refused_with_their_reason(options: list[str], reason: str):
    done = install(*options)
    assert done.returncode == 1
    assert reason in done.stderr
