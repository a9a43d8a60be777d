"""What a user may have meant by a word that is not known."""

import difflib
from collections.abc import Iterable

LIKENESS = 0.8
SHORTEST = 4
"""Shorter words are like too many others."""


def closest(word: str, known: Iterable[str], likeness: float = LIKENESS) -> str:
    """Give the known word most like this one, "" when none is like it."""
    if len(word) < SHORTEST:
        return ""
    found = difflib.get_close_matches(word, list(known), 1, likeness)
    return found[0] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give the end of an error text that names the likely word, or nothing."""
    found = closest(word, known)
    return f" (did you mean '{found}'?)" if found else ""


def begin_alike(word: str, known: Iterable[str], most: int = 3) -> str:
    """Give the end of an error text that lists names with the same beginning, or nothing."""
    start = word.lower()[:SHORTEST]
    found = [name for name in known if len(start) > 2 and name.lower().startswith(start)]
    if not found:
        return ""
    more = " ..." if len(found) > most else ""
    return f" (there are: {', '.join(sorted(found)[:most])}{more})"
