"""Text forms of numbers and dates, with the leniency clients may rely on.

Source: facts/wire.md "Values" and the traces "types": integers and floats
follow the syntax of OCaml's conversions, dates need their colons.
"""

import re
from functools import lru_cache

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

_INT = re.compile(
    r"(?P<sign>[+-]?)(?:0[xX](?P<x>[0-9a-fA-F][0-9a-fA-F_]*)|0[oO](?P<o>[0-7][0-7_]*)"
    r"|0[bB](?P<b>[01][01_]*)|0[uU](?P<u>[0-9][0-9_]*)|(?P<d>[0-9][0-9_]*))",
    re.ASCII,
)
_BASES = {"x": 16, "o": 8, "b": 2, "u": 10}
_MAX_DIGITS = 80

_FLOAT = re.compile(
    r"[ \t\n\v\f\r]*[+-]?(?:nan|inf|infinity"
    r"|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:e[+-]?[0-9][0-9_]*)?)",
    re.IGNORECASE | re.ASCII,
)
_HEX_FLOAT = re.compile(
    r"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]{1,6})?", re.IGNORECASE | re.ASCII
)

_DATE = re.compile(
    r"(\d{4})(-?)(\d{2})\2(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(\.\d+)?"
    r"(?:([Zz])|([+-])(\d{2}):?(\d{2}))?",
    re.ASCII,
)
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def parse_int(text: str) -> int:
    """Read a 64-bit integer: decimal, ``0x``, ``0o``, ``0b`` or ``0u``, ``_`` allowed.

    Prefixed forms may use all 64 bits and then wrap to negative numbers.
    Errors: ValueError, also for surrounding blanks.
    """
    match = _INT.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        raise ValueError(f"not an integer: {text[:40]!r}")
    negative = match["sign"] == "-"
    kind = str(match.lastgroup)
    digits = match[kind].replace("_", "")
    if kind == "d":
        value = -int(digits) if negative else int(digits)
        if not INT64_MIN <= value <= INT64_MAX:
            raise ValueError(f"beyond 64 bits: {text[:40]}")
        return value
    magnitude = int(digits, _BASES[kind])
    if magnitude >= 2**64:
        raise ValueError(f"beyond 64 bits: {text[:40]}")
    value = -magnitude if negative else magnitude
    return (value + 2**63) % 2**64 - 2**63


def parse_float(text: str) -> float:
    """Read a float: decimal, hexadecimal, ``nan``, ``inf``, ``infinity``.

    Numbers too large become infinity.  Errors: ValueError.
    """
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if _HEX_FLOAT.fullmatch(text):
        try:
            return float.fromhex(text)
        except OverflowError:
            return float("-inf" if text.startswith("-") else "inf")
    raise ValueError(f"not a float: {text[:40]!r}")


def parse_date(text: str) -> int:
    """Read an ISO 8601 date as whole unix seconds; no zone means UTC.

    Dashes in the date may be there or not, colons must be; a fraction is cut
    off, and is refused in the form without dashes that ends in ``Z``.
    Errors: ValueError, also for days and hours that do not exist.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a date: {text[:40]!r}")
    year, month, day, hour, minute, second = (int(match[i]) for i in (1, 3, 4, 5, 6, 7))
    if match[8] and match[9] and not match[2]:
        raise ValueError(f"a UTC date takes no fraction: {text[:40]!r}")
    if not 1 <= month <= 12 or not 1 <= day <= days_in_month(year, month):
        raise ValueError(f"no such day: {text[:40]!r}")
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError(f"no such time: {text[:40]!r}")
    offset = 0
    if match[10]:
        if int(match[11]) > 23 or int(match[12]) > 59:
            raise ValueError(f"no such offset: {text[:40]!r}")
        offset = (int(match[11]) * 60 + int(match[12])) * (60 if match[10] == "+" else -60)
    return days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset


@lru_cache(maxsize=8192)
def format_date(seconds: int) -> str:
    """Write unix seconds as ``YYYYMMDDTHH:MM:SSZ``.

    Dates outside the years 0 to 9999 are moved to the nearest end.
    """
    days, rest = divmod(min(max(int(seconds), -62167219200), 253402300799), 86400)
    days += 719468
    era, day_of_era = divmod(days, 146097)
    years = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * years + years // 4 - years // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = years + era * 400 + (1 if month <= 2 else 0)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{year:04}{month:02}{day:02}T{clock}Z"


def days_in_month(year: int, month: int) -> int:
    """Give the number of days of a month of the Gregorian calendar."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return _MONTH_DAYS[month - 1] + (1 if month == 2 and leap else 0)


def days_since_1970(year: int, month: int, day: int) -> int:
    """Count days from 1970-01-01, negative before it; any year from 0 on."""
    year -= 1 if month <= 2 else 0
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return (
        era * 146097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + (day_of_year - 719468)
    )
