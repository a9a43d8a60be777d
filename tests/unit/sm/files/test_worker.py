"""What callers get from a worker, whatever happens in it."""

from pathlib import Path

import pytest

from sm.files.calls import Worker
from sm.files.kinds import Host
from sm.files.worker import answer


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker("file", Host(tmp_path, "host"), lambda *_: None)


def test_refusals_have_their_number(worker: Worker) -> None:
    params = {"device_config": {}, "sm_config": {}}
    name, code, *_ = answer(worker, {"method": "probe", "params": params})["error"]
    assert (name, code) == ("Storage_backend_error", "SR_BACKEND_FAILURE_94")


def test_mistakes_of_ours_are_1200_with_what_happened(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(worker, {"method": "probe", "params": {"nonsense": 1}})["error"]
    assert found[1:3] == ["SR_BACKEND_FAILURE_1200", ""] and "nonsense" in found[3]
    assert "Traceback" in capsys.readouterr().err
