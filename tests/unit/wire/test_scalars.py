"""Numbers and dates as text: what is read, what is refused, what is written."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xapi_py.wire.scalars import (
    INT64_MAX,
    INT64_MIN,
    format_date,
    parse_date,
    parse_float,
    parse_int,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9", 9),
        ("+11", 11),
        ("-12", -12),
        ("0x0d", 13),
        ("0XFF", 255),
        ("0b11", 3),
        ("0o17", 15),
        ("0u123", 123),
        ("1_000", 1000),
        ("-0x10", -16),
        ("0xffffffffffffffff", -1),
        ("0u18446744073709551615", -1),
        (str(INT64_MAX), INT64_MAX),
        (str(INT64_MIN), INT64_MIN),
    ],
)
def test_integers_follow_ocaml(text: str, value: int) -> None:
    assert parse_int(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " 10 ", "14.0", "abc", "_1", "0x", "0x_1", "+", "--1", "1e3", "٣", "9" * 5000]
    + [str(INT64_MAX + 1), str(INT64_MIN - 1), "0x10000000000000000"],
)
def test_other_integers_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_int(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), ("1e3", 1000.0), ("5.", 5.0), (".5", 0.5), ("-0.0", 0.0), ("0x1p4", 16.0)]
    + [
        ("inf", float("inf")),
        ("-Infinity", float("-inf")),
        ("1e400", float("inf")),
        ("1_0.5", 10.5),
    ],
)
def test_floats_follow_ocaml(text: str, value: float) -> None:
    assert parse_float(text) == value


@pytest.mark.parametrize("text", ["NaN", "nan"])
def test_not_a_number_is_a_float(text: str) -> None:
    assert parse_float(text) != parse_float(text)


@pytest.mark.parametrize("text", ["", "abc", "1,5", "1.5 ", "1e", "0x", "_1", "e5", "1.5.5", "١"])
def test_other_floats_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_float(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("20170223T09:30:00Z", "20170223T09:30:00Z"),
        ("2017-02-23T09:30:00Z", "20170223T09:30:00Z"),
        ("20170223T09:30:00", "20170223T09:30:00Z"),
        ("2017-02-23 09:30:00", "20170223T09:30:00Z"),
        ("20170223T09:30:00+09:00", "20170223T00:30:00Z"),
        ("20170223T09:30:00-05:00", "20170223T14:30:00Z"),
        ("2017-02-23T09:30:00.123456Z", "20170223T09:30:00Z"),
        ("20170223T09:30:00.5", "20170223T09:30:00Z"),
        ("00000101T00:00:00Z", "00000101T00:00:00Z"),
        ("99991231T23:59:59Z", "99991231T23:59:59Z"),
        ("20160229T12:00:00Z", "20160229T12:00:00Z"),
        ("19700101T00:00:00Z", "19700101T00:00:00Z"),
    ],
)
def test_dates_are_read_leniently_and_written_strictly(text: str, shown: str) -> None:
    assert format_date(parse_date(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "20170223", "1487842200", "20170223T093000Z", "20170223T09:30Z"]
    + ["20170223T09:30:00.123Z", "20171332T25:61:61Z", "20170229T12:00:00Z", "2017-0223T00:00:00Z"]
    + ["20170223T09:30:00+25:00", "20170223T09:30:00ZZ", " 20170223T09:30:00Z"],
)
def test_other_dates_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_date(text)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_dates_agree_with_the_standard_library(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    text = f"{moment.year:04}" + moment.strftime("%m%dT%H:%M:%SZ")
    assert (format_date(seconds), parse_date(text)) == (text, seconds)


@given(st.integers(INT64_MIN, INT64_MAX))
def test_every_integer_survives(number: int) -> None:
    assert parse_int(str(number)) == number


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_int, parse_float, parse_date):
        with contextlib.suppress(ValueError):
            parse(text)
