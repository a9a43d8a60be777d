"""The update feed: cursors of other lives and of readers far behind."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from xapi_py.base.rpc.updates import UpdateFeed


def get(feed: UpdateFeed, cursor: int, epoch: str = "") -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(feed.get(epoch, cursor, 0)).addBoth(results.append)
    return results[0]


def test_a_cursor_from_before_the_process_is_reset() -> None:
    feed = UpdateFeed(Clock(), "now", first=1000)
    assert feed.add("vm", "a") == 1001
    assert get(feed, 999).get("reset")
    assert get(feed, 1002).get("reset")
    assert get(feed, 1000) == {"epoch": "now", "cursor": 1001, "updates": [["vm", "a"]]}


def test_a_cursor_of_another_epoch_is_reset() -> None:
    feed = UpdateFeed(Clock(), "now")
    assert get(feed, 0, "before").get("reset")
    assert "reset" not in get(feed, 0, "now")


def test_a_reader_behind_what_was_forgotten_is_reset() -> None:
    feed = UpdateFeed(Clock(), "now", limit=2)
    for name in "abc":
        feed.add("vm", name)
    assert get(feed, 0).get("reset")
    assert get(feed, 1)["updates"] == [["vm", "b"], ["vm", "c"]]
