"""Moments as error parameters spell them."""

from datetime import UTC, datetime


def iso_date(moment: int) -> str:
    """Write unix seconds as ``20260101T00:00:00Z``."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H:%M:%SZ")
