import json
import os
import stat

import pytest

from xapi_py.supervise import state_folder
from xapi_py.supervise.options import UsageError


def test_a_folder_has_one_owner_until_its_descriptor_is_closed(tmp_path):
    assert state_folder.owner(tmp_path) is None
    held = state_folder.lock(tmp_path)
    assert state_folder.owner(tmp_path) == os.getpid()
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        state_folder.lock(tmp_path)
    os.close(held)
    assert state_folder.owner(tmp_path) is None
    os.close(state_folder.lock(tmp_path))


def test_a_made_up_password_is_kept_for_its_owner_only(tmp_path):
    path = tmp_path / "password"
    first = state_folder.password(path, None)
    assert len(first) == 12 and first.isalnum()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert state_folder.password(path, None) == first
    assert state_folder.password(path, "given one") == "given one"
    assert state_folder.password(path, None) == "given one"


def test_an_empty_password_file_counts_as_none(tmp_path):
    (tmp_path / "password").write_text("\n")
    assert state_folder.password(tmp_path / "password", None)


def test_a_write_replaces_the_whole_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "deep" / "ready"
    state_folder.write(path, "one, and longer")
    state_folder.write(path, "two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["ready"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        state_folder.write(tmp_path / "file" / "ready", "x")
    with pytest.raises(UsageError, match="file"):
        state_folder.make(tmp_path / "file" / "state")


def test_the_ready_text_lists_hosts_by_number():
    answers = {
        2: {"address": "127.0.0.2", "http": 80, "https": 443, "socket": "/b", "more": 1},
        1: {"address": "127.0.0.1", "http": 80, "https": 443, "socket": "/a"},
    }
    pools = json.loads(state_folder.ready_text("pw", answers))["pools"]
    assert [pool["master"] for pool in pools] == ["127.0.0.1", "127.0.0.2"]
    assert pools[1]["hosts"] == [{"address": "127.0.0.2", "http": 80, "https": 443, "socket": "/b"}]
