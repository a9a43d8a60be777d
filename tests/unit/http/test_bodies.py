"""Request bodies that are read while they arrive."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from xapi_py.http.bodies import HIGH_WATER_BYTES, BodyCutShort, BodyStream


class Reader:
    """A body, whether its client is stopped, and what was read of it."""

    def __init__(self) -> None:
        self.stopped = False
        self.body = BodyStream(lambda: self._stop(True), lambda: self._stop(False))
        self.found: list[Any] = []

    def _stop(self, stopped: bool) -> None:
        self.stopped = stopped

    def read(self, at_least: int = 1) -> list[Any]:
        Deferred.fromCoroutine(self.body.read(at_least)).addBoth(self.found.append)
        return self.found


def test_pieces_come_as_they_arrive() -> None:
    reader = Reader()
    assert reader.read() == []
    reader.body.feed(b"one")
    reader.body.feed(b"two")
    assert reader.read() == [b"one", b"two"]
    reader.read()
    reader.body.finish()
    assert reader.found[2:] == [b""]


def test_who_wants_many_bytes_gets_all_that_came_once_there_are_enough() -> None:
    reader = Reader()
    reader.read(10)
    for _ in range(3):
        reader.body.feed(b"abc")
        assert reader.found == []
    reader.body.feed(b"def")
    assert reader.found == [b"abcabcabcdef"]
    reader.body.feed(b"end")
    reader.read(10)
    assert len(reader.found) == 1
    reader.body.finish()
    assert reader.read(10) == [b"abcabcabcdef", b"end", b""]


def test_a_client_that_left_ends_the_waiting_for_more() -> None:
    reader = Reader()
    reader.read(10)
    reader.body.feed(b"abc")
    reader.body.finish(cut_short=True)
    assert reader.found == [b"abc"]
    failure = reader.read()[1]
    with pytest.raises(BodyCutShort):
        failure.raiseException()


def test_a_client_is_stopped_while_nobody_reads_and_never_because_too_much_is_wanted() -> None:
    reader = Reader()
    reader.body.feed(bytes(HIGH_WATER_BYTES))
    assert reader.stopped
    reader.read(HIGH_WATER_BYTES * 4)
    assert len(reader.found[0]) == HIGH_WATER_BYTES and not reader.stopped
