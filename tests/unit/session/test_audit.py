"""The audit log: what is in it, and what a full disk may not do."""

import errno
import os
from pathlib import Path

import pytest

from xapi_py.session import audit
from xapi_py.session.audit import AuditLog


def test_failed_rotation_keeps_the_file_that_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, "host-1")
    log.append("first")
    monkeypatch.setattr(audit, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(AuditLog, "_open", _no_room)
    log.append("second")
    # what is opened now must not get the lines that follow
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    monkeypatch.undo()
    log.append("third")
    assert os.fstat(other).st_size == 0
    assert [line.split()[-1] for line in log.lines()] == ["first", "second", "third"]
    os.close(other)
    log.close()


def test_lines_after_the_end_go_nowhere(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "host-1")
    log.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    log.append("late")
    assert os.fstat(other).st_size == 0
    os.close(other)


def test_rotation_keeps_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_FILE_BYTES", 100)
    log = AuditLog(tmp_path, "host-1")
    for number in range(5):
        log.append(f"line {number}")
    words = [line.split()[-1] for line in log.lines()]
    assert words == ["0", "1", "2", "3", "4"]
    log.close()


def _no_room(log: AuditLog) -> int:
    raise OSError(errno.ENOSPC, "no room")


def test_a_line_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "host-1")
    arguments = [("name", "it's\n\\two\r'lines"), ("plain", "text")]
    log.record("OpaqueRef:s", "sid", "o'root", "OK", "VM.set_name_label", arguments)
    (line,) = log.lines()
    track = audit.track_id("OpaqueRef:s")
    assert line.split("] ", 1)[1] == (
        f"('trackid={track}' 'sid' 'o\\'root' 'ALLOWED' 'OK' 'API' 'VM.set_name_label' "
        "(('name' 'it\\'s\\n\\\\two\\r\\'lines') ('plain' 'text')))\n"
    )
    log.close()
