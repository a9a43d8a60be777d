"""The latest lines of the log are kept in memory."""

import logging

from xapi_py.base.log import KEPT_LINES, RecentLines


def test_the_latest_lines_are_kept_as_text():
    logger, recent = logging.Logger("test"), RecentLines()
    recent.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger.addHandler(recent)
    for number in range(KEPT_LINES + 2):
        logger.info("line %d", number)
    lines = recent.lines()
    assert len(lines) == KEPT_LINES
    assert (lines[0], lines[-1]) == ("test: line 2", f"test: line {KEPT_LINES + 1}")
