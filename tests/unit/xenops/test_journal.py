"""Values that outlive the process."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenops.journal import Journal

KEYS = st.sampled_from("abc")
CHANGES = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.integers())), max_size=40)


@given(CHANGES, st.integers(0, 200))
@settings(max_examples=60)
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, int | None]],
    slack_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = Journal(path, slack_bytes)
    expected: dict[str, bytes] = {}
    for key, value in changes:
        if value is None:
            journal.remove(key)
            expected.pop(key, None)
        else:
            journal.put(key, b'{"n":%d}' % value)
            expected[key] = b'{"n":%d}' % value
    assert dict(journal.items()) == expected
    assert dict(Journal(path).items()) == expected


def test_a_torn_last_line_loses_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.put("a", b"{}")
    journal.put("b", b'{"outer":{"inner":1},"more":2}')
    os.truncate(path, path.stat().st_size - len(b',"more":2}\n'))
    assert Journal(path).items() == [("a", b"{}")]


def test_the_file_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, slack_bytes=1000)
    for n in range(1000):
        journal.put("a", b'{"n":%d}' % n)
    assert path.stat().st_size < 1100
    assert Journal(path).items() == [("a", b'{"n":999}')]


def test_an_equal_value_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.put("a", b"{}")
    size = path.stat().st_size
    journal.put("a", b"{}")
    assert path.stat().st_size == size
